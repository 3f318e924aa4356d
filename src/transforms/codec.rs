//! Columns ↔ one run of bytes per row: for keys, states and results that are kept row by row.
//!
//! Bytes compare as their rows do: column by column, ascending, nulls first. They depend on nothing
//! but the values, so rows of any lane and any epoch compare.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, NullArray, StringArray};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow_row::{RowConverter, RowParser, Rows, SortField};

use crate::report::Failure;

/// Where formats keep the symbols of an enum: the dictionary must have them in this order.
const ENUM_SYMBOLS: &str = "avro.enum.symbols";

/// Encodes and decodes rows of given fields.
#[derive(Debug)]
pub struct RowCodec {
    fields: Vec<Field>,
    converter: RowConverter,
    parser: RowParser,
}

impl RowCodec {
    /// # Errors
    /// Values of some type cannot be kept (a union, for example).
    pub fn new(fields: Vec<Field>) -> Result<Self, Failure> {
        let mut columns: Vec<SortField> = fields.iter().map(|f| SortField::new(f.data_type().clone())).collect();
        if columns.is_empty() {
            // A row needs a column to be counted by.
            columns.push(SortField::new(DataType::Null));
        }
        let converter = RowConverter::new(columns).map_err(|error| {
            let types: Vec<String> = fields.iter().map(|f| format!("`{}` {}", f.name(), f.data_type())).collect();
            let message = format!("values of these types cannot be kept: {}", types.join(", "));
            Failure::user("aggregate.type", message).because(error)
        })?;
        Ok(RowCodec { parser: converter.parser(), converter, fields })
    }

    /// One run of bytes per row; `count` is the number of rows, also where there are no columns.
    pub fn encode(&self, columns: &[ArrayRef], count: usize) -> Result<Rows, Failure> {
        let nulls: [ArrayRef; 1] = [Arc::new(NullArray::new(count))];
        let columns = if self.fields.is_empty() { &nulls } else { columns };
        self.converter.convert_columns(columns).map_err(broken)
    }

    /// The columns of rows that this codec encoded.
    pub fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, Failure> {
        let columns = self.converter.convert_rows(rows.map(|row| self.parser.parse(row))).map_err(broken)?;
        self.fields.iter().zip(columns).map(|(field, column)| restore(field, column)).collect()
    }
}

fn broken(error: ArrowError) -> Failure {
    Failure::bug("aggregate.rows", "rows that are kept could not be encoded or decoded").because(error)
}

/// Row bytes have no dictionaries: an enum comes back as text and becomes an enum again.
fn restore(field: &Field, column: ArrayRef) -> Result<ArrayRef, Failure> {
    if column.data_type() == field.data_type() {
        return Ok(column);
    }
    let symbols = field.metadata().get(ENUM_SYMBOLS).and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
    match (symbols, column.as_string_opt::<i32>()) {
        (Some(symbols), Some(texts)) => enum_of(texts, symbols).map_err(broken),
        _ => arrow::compute::cast(&column, field.data_type()).map_err(broken),
    }
}

fn enum_of(texts: &StringArray, symbols: Vec<String>) -> Result<ArrayRef, ArrowError> {
    let index = |text: &str| symbols.iter().position(|symbol| symbol == text).map(|index| index as i32);
    let indexes: Int32Array = texts.iter().map(|text| text.and_then(index)).collect();
    Ok(Arc::new(DictionaryArray::try_new(indexes, Arc::new(StringArray::from(symbols)))?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn an_enum_comes_back_with_its_symbols_in_their_order() {
        let data_type = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let symbols = HashMap::from([(ENUM_SYMBOLS.to_owned(), r#"["C","B","A"]"#.to_owned())]);
        let codec = RowCodec::new(vec![Field::new("grade", data_type, true).with_metadata(symbols)]).unwrap();
        let grades =
            enum_of(&StringArray::from(vec![Some("A"), None, Some("C")]), vec!["C".into(), "B".into(), "A".into()])
                .unwrap();
        let rows = codec.encode(std::slice::from_ref(&grades), 3).unwrap();
        assert_eq!(&codec.decode(rows.iter().map(|row| row.data())).unwrap()[0], &grades);
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let codec = RowCodec::new(Vec::new()).unwrap();
        let rows = codec.encode(&[], 3).unwrap();
        assert_eq!(rows.num_rows(), 3);
        assert_eq!(codec.decode(rows.iter().map(|row| row.data())).unwrap(), Vec::<ArrayRef>::new());
    }

    #[test]
    fn bytes_compare_as_rows_do() {
        let codec = RowCodec::new(vec![Field::new("n", DataType::Int64, true)]).unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(-5), Some(3), Some(1 << 40)]));
        let rows = codec.encode(&[numbers], 4).unwrap();
        assert!((1..4).all(|row| rows.row(row - 1).data() < rows.row(row).data()));
    }
}
