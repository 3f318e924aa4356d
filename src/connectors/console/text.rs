//! Rows as aligned text, one line each.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, ArrayFormatterFactory, DisplayIndex, FormatOptions, FormatResult};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::data::meta;
use crate::formats::{Encoder, Reject};
use crate::report::Failure;

/// A value that is wider does not widen its column: one long text must not push all others away.
const WIDTH_MAX: usize = 40;
const GAP: &str = "  ";
const NULL: &str = "null";

/// Turns rows into aligned lines: numbers to the right, times as RFC 3339 in UTC, no metadata columns.
///
/// Columns grow with their values. A header line stands before the first row, and again when a
/// column has grown. Clones share their columns, so that lanes print one table.
#[derive(Debug, Clone, Default)]
pub struct TableText {
    layout: Arc<Mutex<Layout>>,
}

#[derive(Debug, Default)]
struct Layout {
    names: Vec<String>,
    widths: Vec<usize>,
}

/// A column of a batch, as text.
struct Column {
    name: String,
    to_the_right: bool,
    cells: Vec<String>,
}

impl Encoder for TableText {
    fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<(Vec<Range<u32>>, Vec<Reject>), Failure> {
        if rows.num_rows() == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let columns = columns(rows)
            .map_err(|error| Failure::bug("console.format", "a column has no text form").because(error))?;
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        let mut header = layout.fit(&columns);
        let mut places = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let start = arena.len() as u32;
            if std::mem::take(&mut header) {
                layout.line(&columns, |column| &column.name, arena);
                arena.push(b'\n');
            }
            layout.line(&columns, |column| &column.cells[row], arena);
            places.push(start..arena.len() as u32);
        }
        Ok((places, Vec::new()))
    }
}

impl Layout {
    /// Makes room for the columns; true if a header line is due.
    fn fit(&mut self, columns: &[Column]) -> bool {
        let same = self.names.iter().eq(columns.iter().map(|column| &column.name));
        if !same {
            self.names = columns.iter().map(|column| column.name.clone()).collect();
            self.widths = vec![0; columns.len()];
        }
        let mut grown = false;
        for (width, column) in self.widths.iter_mut().zip(columns) {
            let cells = column.cells.iter().map(|cell| cell.chars().count().min(WIDTH_MAX));
            let wanted = cells.max().unwrap_or(0).max(column.name.chars().count());
            if wanted > *width {
                *width = wanted;
                grown = true;
            }
        }
        grown
    }

    fn line<'a>(&self, columns: &'a [Column], text: impl Fn(&'a Column) -> &'a str, arena: &mut Vec<u8>) {
        let start = arena.len();
        for (index, (column, width)) in columns.iter().zip(&self.widths).enumerate() {
            if index > 0 {
                arena.extend_from_slice(GAP.as_bytes());
            }
            let text = text(column);
            let padding = width.saturating_sub(text.chars().count());
            if column.to_the_right {
                arena.resize(arena.len() + padding, b' ');
            }
            arena.extend_from_slice(text.as_bytes());
            if !column.to_the_right {
                arena.resize(arena.len() + padding, b' ');
            }
        }
        while arena.len() > start && arena.last() == Some(&b' ') {
            arena.pop();
        }
    }
}

fn columns(rows: &RecordBatch) -> Result<Vec<Column>, ArrowError> {
    let shown = |(field, _): &(&Arc<Field>, &ArrayRef)| !meta::is_meta(field.name());
    rows.schema_ref().fields().iter().zip(rows.columns()).filter(shown).map(column).collect()
}

fn column((field, values): (&Arc<Field>, &ArrayRef)) -> Result<Column, ArrowError> {
    let options = FormatOptions::new().with_null(NULL).with_formatter_factory(Some(&Readable));
    let formatter = match Readable.create_array_formatter(values, &options, Some(field))? {
        Some(formatter) => formatter,
        None => ArrayFormatter::try_new(values, &options)?,
    };
    let cell = |row| if values.is_null(row) { NULL.to_owned() } else { one_line(formatter.value(row).to_string()) };
    Ok(Column {
        name: field.name().clone(),
        to_the_right: field.data_type().is_numeric(),
        cells: (0..values.len()).map(cell).collect(),
    })
}

/// A row is one line, whatever its texts hold.
fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text }
}

/// Our forms of times, floats and bytes, also within lists and structs.
#[derive(Debug)]
struct Readable;

impl ArrayFormatterFactory for Readable {
    fn create_array_formatter<'a>(
        &self,
        values: &'a dyn Array,
        options: &FormatOptions<'a>,
        _field: Option<&'a Field>,
    ) -> Result<Option<ArrayFormatter<'a>>, ArrowError> {
        use DataType::{Binary, Float32, Float64, Timestamp};
        let form: fn(&dyn Array, usize) -> String = match values.data_type() {
            Timestamp(TimeUnit::Second, _) => |values, row| {
                instant(DateTime::from_timestamp(values.as_primitive::<TimestampSecondType>().value(row), 0))
            },
            Timestamp(TimeUnit::Millisecond, _) => |values, row| {
                instant(DateTime::from_timestamp_millis(values.as_primitive::<TimestampMillisecondType>().value(row)))
            },
            Timestamp(TimeUnit::Microsecond, _) => |values, row| {
                instant(DateTime::from_timestamp_micros(values.as_primitive::<TimestampMicrosecondType>().value(row)))
            },
            Timestamp(TimeUnit::Nanosecond, _) => |values, row| {
                let nanos = values.as_primitive::<TimestampNanosecondType>().value(row);
                instant(Some(DateTime::from_timestamp_nanos(nanos)))
            },
            Float32 => |values, row| float(values.as_primitive::<Float32Type>().value(row).into()),
            Float64 => |values, row| float(values.as_primitive::<Float64Type>().value(row)),
            Binary => |values, row| bytes(values.as_binary::<i32>().value(row)),
            _ => return Ok(None),
        };
        Ok(Some(ArrayFormatter::new(Box::new(Form { values, null: options.null(), form }), options.safe())))
    }
}

struct Form<'a> {
    values: &'a dyn Array,
    null: &'a str,
    form: fn(&dyn Array, usize) -> String,
}

impl DisplayIndex for Form<'_> {
    fn write(&self, row: usize, out: &mut dyn std::fmt::Write) -> FormatResult {
        if self.values.is_null(row) {
            out.write_str(self.null)?;
        } else {
            out.write_str(&(self.form)(self.values, row))?;
        }
        Ok(())
    }
}

fn instant(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| "(out of range)".into(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// At most six decimals, no trailing zeros; very large and very small ones with an exponent.
fn float(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || (size != 0.0 && !(1e-4..1e15).contains(&size)) {
        return format!("{value:e}").replace("inf", "Infinity");
    }
    let text = format!("{value:.6}");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// As text if that is what they are, else in hexadecimal.
fn bytes(value: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(value) {
        return text.to_owned();
    }
    let mut hex = String::from("0x");
    value.iter().for_each(|byte| {
        let _ = write!(hex, "{byte:02x}");
    });
    hex
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;

    fn rows(brands: Vec<Option<&str>>, counts: Vec<i64>) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("brand", Arc::new(StringArray::from(brands))),
            ("cnt", Arc::new(Int64Array::from(counts.clone()))),
            (meta::OFFSET, Arc::new(Int64Array::from(counts))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn print(table: &mut TableText, rows: &RecordBatch) -> Vec<String> {
        let mut arena = Vec::new();
        let (places, _) = table.encode(rows, &mut arena).unwrap();
        let line = |place: Range<u32>| String::from_utf8(arena[place.start as usize..place.end as usize].to_vec());
        places.into_iter().map(|place| line(place).unwrap()).collect()
    }

    #[test]
    fn columns_are_aligned_under_one_header_and_grow() {
        let mut table = TableText::default();
        let first = print(&mut table, &rows(vec![Some("Acme"), None], vec![7, 1234]));
        assert_eq!(first, ["brand   cnt\nAcme      7", "null   1234"]);
        assert_eq!(print(&mut table.clone(), &rows(vec![Some("Bolt")], vec![8])), ["Bolt      8"]);
        let grown = print(&mut table, &rows(vec![Some("Umbrella")], vec![9]));
        assert_eq!(grown, ["brand      cnt\nUmbrella     9"]);
    }

    #[test]
    fn times_and_doubles_are_readable() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1_500]).with_timezone("UTC"))),
            ("mean", Arc::new(Float64Array::from(vec![2.0 / 3.0, 4.0]))),
        ];
        let lines = print(&mut TableText::default(), &RecordBatch::try_from_iter(columns).unwrap());
        assert!(lines[0].ends_with("1970-01-01T00:00:00Z      0.666667"), "{}", lines[0]);
        assert!(lines[1].ends_with("1970-01-01T00:00:01.500Z       4.0"), "{}", lines[1]);
        assert_eq!([float(1e300), float(0.00001), float(-0.5), float(0.0)], ["1e300", "1e-5", "-0.5", "0.0"]);
    }

    #[test]
    fn a_line_break_in_a_text_does_not_break_the_line() {
        let lines = print(&mut TableText::default(), &rows(vec![Some("a\nb")], vec![1]));
        assert_eq!(lines[0], "brand  cnt\na\\nb     1");
    }
}
