//! The fast way of whole batches: transformations on columns, and converters whose bytes our own formats write.
//!
//! It gives what the way row by row gives ([`super::written`]), or nothing: then that way is gone. So no record that
//! is refused is any of its business, and messages are those of the other way.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field as Column, Schema as ArrowSchema};

use super::super::{arrow_bug, put};
use super::cells::{Cells, write_struct};
use super::written::Part;
use super::{Machinery, Named};
use crate::formats::{AvroWriter, Encoder, EncoderSpec, Format};
use crate::kafka_connect::columns::{self, Columns};
use crate::kafka_connect::converters::Form;
use crate::kafka_connect::{Datum, Kind, Schema, Value};
use crate::report::Failure;

/// Encoders of schemas that were met, by side and id.
#[derive(Default)]
pub(super) struct Fast {
    encoders: HashMap<(bool, i32), Box<dyn Encoder>>,
}

/// A place per row in the arena; `None`: null.
pub(super) type Places = Vec<Option<Range<u32>>>;

/// Keys and values of a batch.
pub(super) struct Bytes {
    pub topic: String,
    pub keys: Places,
    pub values: Places,
}

impl Fast {
    /// The bytes of all rows, or `None` where only the way row by row can tell.
    ///
    /// # Errors
    /// [`Failure`] (bug) if the rows do not have the columns of the plan.
    pub fn bytes(
        &mut self,
        machinery: &Machinery,
        topic: &str,
        (key, value): (&Part, &Part),
        rows: &RecordBatch,
        arena: &mut Vec<u8>,
    ) -> Result<Option<Bytes>, Failure> {
        let (Some(key), Some(value)) = (part(key, rows)?, part(value, rows)?) else { return Ok(None) };
        let given = Columns { topic: topic.to_owned(), count: rows.num_rows(), key, value };
        let Some(columns) = machinery.chain.columns(given) else { return Ok(None) };
        let start = arena.len();
        let Columns { topic, count, key, value } = columns;
        let keys = self.encode(true, &machinery.key, &topic, key, count, arena)?;
        let values = match keys.is_some() {
            true => self.encode(false, &machinery.value, &topic, value, count, arena)?,
            false => None,
        };
        match (keys, values) {
            (Some(keys), Some(values)) => Ok(Some(Bytes { topic, keys, values })),
            _ => {
                arena.truncate(start);
                Ok(None)
            }
        }
    }

    fn encode(
        &mut self,
        is_key: bool,
        by: &Named,
        topic: &str,
        part: columns::Part,
        count: usize,
        arena: &mut Vec<u8>,
    ) -> Result<Option<Places>, Failure> {
        if let columns::Part::Null(schema) = &part {
            // All the same; with a schema some converters write that there is nothing.
            let null = Datum { schema: schema.clone(), value: Value::Null };
            let Ok(bytes) = by.converter.encode(topic, &null) else { return Ok(None) };
            return Ok(Some(vec![bytes.map(|bytes| put(&bytes, arena)); count]));
        }
        let Some(form) = by.converter.form(topic, schema_of(&part)) else { return Ok(None) };
        if matches!(&part, columns::Part::Whole(_, column) if column.logical_null_count() > 0) {
            return Ok(None);
        }
        if let Form::Json { before, behind, decimal_numeric } = form {
            return write_json(&part, count, (&before, behind), decimal_numeric, arena);
        }
        let rows = batch(part, count)?;
        let mut opened;
        let encoder = match form {
            Form::Avro { id, schema } => {
                let entry = self.encoders.entry((is_key, id));
                match entry {
                    std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::hash_map::Entry::Vacant(empty) => {
                        let avro = Some(AvroWriter { schema, id });
                        let spec = EncoderSpec { format: Format::Avro, schema: rows.schema(), avro };
                        // Columns that our own Avro does not fit to the schema go the other way.
                        let Ok(encoder) = spec.open() else { return Ok(None) };
                        empty.insert(encoder)
                    }
                }
            }
            Form::Text => {
                let spec = EncoderSpec { format: Format::String, schema: rows.schema(), avro: None };
                let Ok(encoder) = spec.open() else { return Ok(None) };
                opened = encoder;
                &mut opened
            }
            Form::Json { .. } => return Ok(None),
        };
        let (places, rejects) = encoder.encode(&rows, arena)?;
        Ok(rejects.is_empty().then(|| places.into_iter().map(Some).collect()))
    }
}

/// Every value as JSON; `None` if one of them is null where it may not be.
fn write_json(
    part: &columns::Part,
    count: usize,
    (before, behind): (&[u8], &[u8]),
    decimal_numeric: bool,
    arena: &mut Vec<u8>,
) -> Result<Option<Places>, Failure> {
    let (schema, arrays) = match part {
        columns::Part::Null(_) => return Ok(None),
        columns::Part::Whole(schema, array) => (schema, std::slice::from_ref(array)),
        columns::Part::Struct(schema, arrays) => (schema, arrays.as_slice()),
    };
    let is_whole = matches!(part, columns::Part::Whole(..));
    let schemas = schema.fields().iter().map(|field| &field.schema).chain(is_whole.then_some(schema));
    let cells = arrays.iter().zip(schemas).map(|(array, schema)| Cells::of(array, schema));
    let cells: Vec<Cells> = cells.collect::<Result<_, _>>()?;
    let mut places = Vec::with_capacity(count);
    for row in 0..count {
        let start = arena.len() as u32;
        arena.extend_from_slice(before);
        let written = match cells.as_slice() {
            [only] if is_whole => only.write_json(row, decimal_numeric, arena),
            cells => write_struct(schema, cells, row, decimal_numeric, arena),
        };
        if written.is_none() {
            return Ok(None);
        }
        arena.extend_from_slice(behind);
        places.push(Some(start..arena.len() as u32));
    }
    Ok(Some(places))
}

fn schema_of(part: &columns::Part) -> Option<&Arc<Schema>> {
    match part {
        columns::Part::Null(schema) => schema.as_ref(),
        columns::Part::Whole(schema, _) | columns::Part::Struct(schema, _) => Some(schema),
    }
}

/// The columns of a part of the rows; `None`: not of columns alone.
fn part(part: &Part, rows: &RecordBatch) -> Result<Option<columns::Part>, Failure> {
    let column = |name: &String, schema: &Arc<Schema>| {
        let column = rows.schema_ref().index_of(name).map(|at| rows.column(at)).map_err(arrow_bug)?;
        match (column.data_type(), &schema.kind) {
            // Of uuids only the field knows that their bytes are texts, and fields are not kept.
            (DataType::FixedSizeBinary(_), Kind::String) => Cells::of(column, schema).map(|cells| cells.texts(column)),
            _ => Ok(column.clone()),
        }
    };
    Ok(match part {
        Part::Null(schema) => Some(columns::Part::Null(schema.clone())),
        Part::Original | Part::Whole { schema: None, .. } => None,
        Part::Whole { column: name, schema: Some(schema) } => {
            columns::Part::of_column(schema.clone(), column(name, schema)?)
        }
        Part::Struct { columns, schema } => {
            let named = columns.iter().zip(schema.fields());
            let columns = named.map(|(name, field)| column(name, &field.schema));
            let columns: Vec<ArrayRef> = columns.collect::<Result<_, Failure>>()?;
            let mut fields = schema.fields().iter().zip(&columns);
            let is_plain = fields.all(|(field, column)| !columns::may_mean_default(field, column));
            is_plain.then(|| columns::Part::Struct(schema.clone(), columns))
        }
    })
}

fn batch(part: columns::Part, count: usize) -> Result<RecordBatch, Failure> {
    let column = |name: &str, array: &ArrayRef| Column::new(name, array.data_type().clone(), true);
    let (fields, columns): (Vec<Column>, Vec<ArrayRef>) = match part {
        columns::Part::Null(_) => (Vec::new(), Vec::new()),
        columns::Part::Whole(_, array) => (vec![column("value", &array)], vec![array]),
        columns::Part::Struct(schema, columns) => {
            let fields = schema.fields().iter().zip(&columns).map(|(field, array)| column(&field.name, array));
            (fields.collect(), columns)
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(fields)), columns, &options).map_err(arrow_bug)
}
