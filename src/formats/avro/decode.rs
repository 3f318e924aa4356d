//! Framed Avro values → rows.
//!
//! Values are grouped by the schema they were written with, decoded by one arrow-avro decoder per
//! schema, and put back into their order.
//!
//! arrow-avro decodes a stream: a truncated value would swallow the next one, two values in one record
//! would shift all rows behind. So after each value exactly one more row and all its bytes must be there. On any
//! other outcome the decoder is discarded, the records to blame are found, and the others are decoded again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions, StructArray, new_empty_array};
use arrow::compute::interleave;
use arrow::datatypes::{Fields, SchemaRef};
use arrow_avro::codec::Tz;
use arrow_avro::reader::{Decoder as RowDecoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};

use super::check::{Fault, check};
use super::flat::Flat;
use super::model::{Field, Kind, Record, Type};
use super::{MAGIC, PREFIX_BYTES, WriterSchemas, schema};
use crate::formats::retype::retype;
use crate::formats::{Decoded, Decoder, Reject};
use crate::report::Failure;

/// Decodes Confluent-framed values into the columns of a reader schema.
#[derive(Debug)]
pub(in crate::formats) struct AvroDecoder {
    schema: SchemaRef,
    /// The columns that decoders give; not `schema`'s if the whole record is one column.
    columns: Fields,
    /// The whole record is the only column, a struct.
    whole: bool,
    reader: Type,
    writers: Arc<WriterSchemas>,
    resolved: HashMap<i32, Resolved>,
}

/// The plan's columns must have the types that the reader schema gives.
fn check_types(given: &Fields, wanted: &Fields) -> Result<(), Failure> {
    let wrong = given
        .iter()
        .zip(wanted)
        .find(|(given, wanted)| retype(&new_empty_array(given.data_type()), wanted.data_type()).is_err());
    wrong.map_or(Ok(()), |(given, wanted)| {
        let message = format!("`{}` is {} and is wanted as {}", given.name(), given.data_type(), wanted.data_type());
        Err(Failure::bug("avro.columns", message))
    })
}

/// What became of a writer schema.
#[derive(Debug)]
enum Resolved {
    Readable(Box<Writer>),
    /// It cannot be read as the reader schema, for this reason.
    Refused(String),
}

impl AvroDecoder {
    /// A decoder that gives `wanted`: columns of `reader_schema` by name, or one struct column
    /// named `_key` that is the whole record.
    ///
    /// # Errors
    /// [`Failure`] (user) `avro.schema`, `avro.unknown_column`.
    pub(in crate::formats) fn new(
        reader_schema: &str,
        wanted: SchemaRef,
        writers: Arc<WriterSchemas>,
    ) -> Result<Self, Failure> {
        let whole = schema::is_record(reader_schema)? && crate::formats::is_key(&wanted);
        let names: Vec<_> = wanted.fields().iter().map(|field| field.name().clone()).collect();
        let projected = schema::reader_schema(reader_schema, (!whole).then_some(&names))?;
        let reader = schema::parse(&projected)?;
        let given = schema::arrow_schema(&projected)?.fields;
        let columns = if whole { given.clone() } else { wanted.fields().clone() };
        check_types(&given, &columns)?;
        Ok(AvroDecoder { schema: wanted, columns, whole, reader, writers, resolved: HashMap::new() })
    }

    /// Sorts the values by writer schema and rejects those without one.
    fn group(&mut self, values: &BinaryArray) -> Result<(Vec<Group>, Vec<Reject>), Failure> {
        let mut groups: Vec<Group> = Vec::new();
        let mut rejects = Vec::new();
        // Ids come in long runs: the last one's group is kept at hand.
        let mut last = usize::MAX;
        for index in 0..values.len() {
            if values.is_null(index) {
                rejects.push(Reject { index, code: "value.null", reason: "the value is null".into() });
                continue;
            }
            match schema_id(values.value(index)) {
                Ok(id) => {
                    if groups.get(last).is_none_or(|group| group.id != id) {
                        last = groups.iter().position(|group| group.id == id).unwrap_or(groups.len());
                    }
                    if last == groups.len() {
                        groups.push(Group { id, indexes: Vec::new() });
                    }
                    groups[last].indexes.push(index as u32);
                }
                Err((code, reason)) => rejects.push(Reject { index, code, reason }),
            }
        }
        // All schemas are fetched before a row is decoded: if the registry is away, nothing was consumed.
        let unresolved: Vec<i32> =
            groups.iter().map(|group| group.id).filter(|id| !self.resolved.contains_key(id)).collect();
        for (id, text) in self.writers.texts(&unresolved)? {
            let resolved = match Writer::new(id, &text, &self.reader, &self.columns) {
                Ok(writer) => Resolved::Readable(Box::new(writer)),
                Err(reason) => Resolved::Refused(reason),
            };
            self.resolved.insert(id, resolved);
        }
        Ok((groups, rejects))
    }

    /// One batch of rows from those of each group, ordered by `index`.
    fn assemble(&self, parts: Vec<Part>) -> Result<RecordBatch, Failure> {
        let Some(first) = parts.first() else { return Ok(RecordBatch::new_empty(self.schema.clone())) };
        let rows: usize = parts.iter().map(|part| part.indexes.len()).sum();
        let columns: Vec<ArrayRef> = if parts.len() == 1 {
            first.columns.clone()
        } else {
            let order = merged_order(&parts);
            (0..self.columns.len())
                .map(|column| {
                    let arrays: Vec<&dyn Array> = parts.iter().map(|part| part.columns[column].as_ref()).collect();
                    interleave(&arrays, &order).map_err(out_of_step)
                })
                .collect::<Result<_, _>>()?
        };
        let columns = if self.whole {
            vec![Arc::new(
                StructArray::try_new_with_length(self.columns.clone(), columns, None, rows).map_err(out_of_step)?,
            ) as ArrayRef]
        } else {
            columns
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(out_of_step)
    }
}

impl Decoder for AvroDecoder {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, Failure> {
        let (groups, mut rejects) = self.group(values)?;
        let mut parts = Vec::with_capacity(groups.len());
        for group in groups {
            match self.resolved.get_mut(&group.id) {
                Some(Resolved::Readable(writer)) => {
                    parts.extend(writer.decode(values, group.indexes, &self.columns, &mut rejects));
                }
                Some(Resolved::Refused(reason)) => {
                    reject_all(&group, "avro.incompatible", reason, &mut rejects);
                }
                None => {
                    let reason = format!("the registry does not know the schema id {}", group.id);
                    reject_all(&group, "avro.unknown_schema", &reason, &mut rejects);
                }
            }
        }
        rejects.sort_by_key(|reject| reject.index);
        Ok(Decoded { rows: self.assemble(parts)?, rejects })
    }
}

/// Values of one writer schema.
struct Group {
    id: i32,
    /// Ascending.
    indexes: Vec<u32>,
}

/// Decoded rows of one writer schema.
struct Part {
    /// Of each row's value; ascending.
    indexes: Vec<u32>,
    columns: Vec<ArrayRef>,
}

fn reject_all(group: &Group, code: &'static str, reason: &str, rejects: &mut Vec<Reject>) {
    let each = group.indexes.iter().map(|index| Reject { index: *index as usize, code, reason: reason.to_owned() });
    rejects.extend(each);
}

/// (part, row) of every row, by the index of its value.
fn merged_order(parts: &[Part]) -> Vec<(usize, usize)> {
    let rows = parts
        .iter()
        .enumerate()
        .flat_map(|(part, decoded)| decoded.indexes.iter().enumerate().map(move |(row, index)| (*index, part, row)));
    let mut order: Vec<_> = rows.collect();
    order.sort_unstable();
    order.into_iter().map(|(_, part, row)| (part, row)).collect()
}

fn out_of_step(error: arrow::error::ArrowError) -> Failure {
    Failure::bug("avro.decode", "decoded columns do not fit together").because(error)
}

/// The id of the schema that a framed value was written with; `None` where the bytes are no framed value.
#[inline]
pub fn framed_id(value: &[u8]) -> Option<i32> {
    match value {
        [MAGIC, a, b, c, d, ..] => Some(i32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

fn schema_id(value: &[u8]) -> Result<i32, (&'static str, String)> {
    match value {
        [] => Err(("avro.empty", "the value is empty".into())),
        [MAGIC, a, b, c, d, ..] => Ok(i32::from_be_bytes([*a, *b, *c, *d])),
        [MAGIC, ..] => Err(("avro.truncated", "the value is shorter than the id of its schema".into())),
        [other, ..] => {
            Err(("avro.magic", format!("the value begins with 0x{other:02x}, not with 0x00 and the id of a schema")))
        }
    }
}

/// Decodes the values of one writer schema.
#[derive(Debug)]
struct Writer {
    id: i32,
    /// As a record: a lone value has been wrapped.
    ty: Type,
    reader: Record,
    /// Top-level bytes come without their length.
    bare_bytes: bool,
    /// Each value is walked before it is decoded: see [`Type::has_weightless_items`].
    suspicious: bool,
    /// For what is as it should be, where the schema is simple.
    flat: Option<Flat>,
    /// Discarded after each error.
    decoder: Option<RowDecoder>,
    scratch: Vec<u8>,
}

impl Writer {
    fn new(id: i32, text: &str, reader: &Type, columns: &Fields) -> Result<Writer, String> {
        let ty = Type::parse(text)?;
        let (is_record, wants_record) = (matches!(ty.kind, Kind::Record(_)), matches!(reader.kind, Kind::Record(_)));
        let refusal = || format!("{} (schema id {id}) cannot be read as {}", ty.describe(), reader.describe());
        if is_record != wants_record {
            return Err(refusal());
        }
        let bare_bytes = ty.kind == Kind::Bytes;
        let suspicious = ty.has_weightless_items();
        let reader = aligned_field(reader, &ty).into_record();
        let message = refusal();
        let record = ty.into_record();
        let flat = if bare_bytes { None } else { Flat::new(&record, &reader, columns) };
        let ty = Type::plain(Kind::Record(Box::new(record)));
        let mut writer = Writer { id, ty, reader, bare_bytes, suspicious, flat, decoder: None, scratch: Vec::new() };
        writer.decoder = Some(writer.open().map_err(|error| format!("{message}: {error}"))?);
        Ok(writer)
    }

    fn open(&self) -> Result<RowDecoder, arrow::error::ArrowError> {
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        store.set(Fingerprint::Id(self.id as u32), AvroSchema::new(self.ty.expanded().to_string()))?;
        ReaderBuilder::new()
            .with_batch_size(i32::MAX as usize)
            .with_tz(Tz::Utc)
            .with_writer_schema_store(store)
            .with_reader_schema(AvroSchema::new(self.reader.expanded().to_string()))
            .build_decoder()
    }

    /// Rows of the values that decode; the others are rejected.
    fn decode(
        &mut self,
        values: &BinaryArray,
        mut indexes: Vec<u32>,
        columns: &Fields,
        rejects: &mut Vec<Reject>,
    ) -> Vec<Part> {
        if self.suspicious {
            self.reject_faulty(values, &mut indexes, columns, rejects);
        }
        if let Ok(part) = self.decode_all(values, &indexes, columns) {
            return vec![part];
        }
        self.reject_faulty(values, &mut indexes, columns, rejects);
        let mut parts = Vec::new();
        self.decode_halves(values, &indexes, columns, &mut parts, rejects);
        parts
    }

    /// Rejects what is not one whole value.
    ///
    /// arrow-avro overlooks some of it: the index of a union with null that is neither 0 nor 1, and what it passes
    /// over. A value that it takes alone stays, or its fate would depend on its neighbours (I2, I17).
    fn reject_faulty(
        &mut self,
        values: &BinaryArray,
        indexes: &mut Vec<u32>,
        columns: &Fields,
        rejects: &mut Vec<Reject>,
    ) {
        if self.bare_bytes {
            return;
        }
        indexes.retain(|index| {
            let value = values.value(*index as usize);
            let Err(fault) = check(&self.ty, &value[PREFIX_BYTES..]) else { return true };
            let may_be_overlooked = matches!(fault, Fault::Malformed(_)) && !self.suspicious;
            if may_be_overlooked && self.decode_all(values, &[*index], columns).is_ok() {
                return true;
            }
            rejects.push(Reject { index: *index as usize, code: fault.code(), reason: fault.reason() });
            false
        });
    }

    /// Decodes well-formed values, of which some may still not resolve to the reader schema.
    fn decode_halves(
        &mut self,
        values: &BinaryArray,
        indexes: &[u32],
        columns: &Fields,
        parts: &mut Vec<Part>,
        rejects: &mut Vec<Reject>,
    ) {
        match (self.decode_all(values, indexes, columns), indexes) {
            (Ok(part), _) => parts.push(part),
            (Err(error), [index]) => {
                let reason = format!("a value of schema id {} does not fit the reader's schema: {error}", self.id);
                rejects.push(Reject { index: *index as usize, code: "avro.unreadable", reason });
            }
            (Err(_), _) => {
                let (left, right) = indexes.split_at(indexes.len() / 2);
                self.decode_halves(values, left, columns, parts, rejects);
                self.decode_halves(values, right, columns, parts, rejects);
            }
        }
    }

    /// All of these values or none; after an error the decoder is a new one.
    fn decode_all(&mut self, values: &BinaryArray, indexes: &[u32], columns: &Fields) -> Result<Part, String> {
        if let Some(columns) = self.flat.as_mut().and_then(|flat| flat.decode(values, indexes, columns)) {
            return Ok(Part { indexes: indexes.to_vec(), columns });
        }
        self.decode_generally(values, indexes, columns)
    }

    fn decode_generally(&mut self, values: &BinaryArray, indexes: &[u32], columns: &Fields) -> Result<Part, String> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self.open().map_err(|error| error.to_string())?,
        };
        for index in indexes {
            let value = values.value(*index as usize);
            let value = if self.bare_bytes { with_length(value, &mut self.scratch) } else { value };
            decode_one(&mut decoder, value)?;
        }
        let columns = match decoder.flush().map_err(|error| error.to_string())? {
            Some(rows) if rows.num_rows() == indexes.len() => fitted(&rows, columns)?,
            Some(_) => return Err("a row is missing".into()),
            None => columns.iter().map(|field| new_empty_array(field.data_type())).collect(),
        };
        self.decoder = Some(decoder);
        Ok(Part { indexes: indexes.to_vec(), columns })
    }
}

/// Decodes one value: exactly one more row, and all its bytes.
fn decode_one(decoder: &mut RowDecoder, value: &[u8]) -> Result<(), String> {
    let before = decoder.capacity();
    let consumed = decoder.decode(value).map_err(|error| error.to_string())?;
    if consumed == value.len() && decoder.capacity() + 1 == before {
        return Ok(());
    }
    // A body of no bytes (a record without fields) is decoded when more comes: one byte that begins
    // the next prefix, and is not consumed.
    if consumed == value.len()
        && decoder.capacity() == before
        && decoder.decode(&[MAGIC]).is_ok_and(|consumed| consumed == 0)
        && decoder.capacity() + 1 == before
    {
        return Ok(());
    }
    Err("it is not exactly one value".into())
}

/// The value with the length that top-level bytes lack on the wire.
fn with_length<'a>(value: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let (prefix, body) = value.split_at(PREFIX_BYTES);
    scratch.clear();
    scratch.extend_from_slice(prefix);
    super::encode::put_long(body.len() as i64, scratch);
    scratch.extend_from_slice(body);
    scratch
}

/// The wanted columns in their order, with the wanted types: writers differ in metadata.
fn fitted(rows: &RecordBatch, columns: &Fields) -> Result<Vec<ArrayRef>, String> {
    rows.columns()
        .iter()
        .zip(columns)
        .map(|(array, field)| {
            if array.null_count() > 0 && !field.is_nullable() {
                return Err(format!("`{}` is null", field.name()));
            }
            retype(array, field.data_type()).map_err(|error| error.to_string())
        })
        .collect()
}

/// The reader schema with the names that the writer gave to the same things, and nulls first where
/// the default is null: arrow-avro compares full names, registries short ones.
fn aligned(reader: &Type, writer: &Type) -> Type {
    let mut aligned = reader.clone();
    match (&mut aligned.kind, &writer.kind) {
        (Kind::Record(reader), Kind::Record(writer)) if reader.name.reads(&writer.name) => {
            reader.name.full.clone_from(&writer.name.full);
            for field in &mut reader.fields {
                if let Some(written) = matching(field, writer) {
                    field.ty = aligned_field(&field.ty, &written.ty);
                }
                default_first(field);
            }
        }
        (Kind::Enum(reader), Kind::Enum(writer)) if reader.name.reads(&writer.name) => {
            reader.name.full.clone_from(&writer.name.full);
        }
        (Kind::Fixed(reader), Kind::Fixed(writer)) if reader.name.reads(&writer.name) => {
            reader.name.full.clone_from(&writer.name.full);
        }
        (Kind::Array(reader), Kind::Array(writer)) | (Kind::Map(reader), Kind::Map(writer)) => {
            **reader = aligned_field(reader, writer);
        }
        _ => {}
    }
    aligned
}

/// Aligns through unions on either side.
fn aligned_field(reader: &Type, writer: &Type) -> Type {
    match (&reader.kind, &writer.kind) {
        (Kind::Union(branches), _) => {
            let branches = branches.iter().map(|branch| aligned_field(branch, writer)).collect();
            Type::plain(Kind::Union(branches))
        }
        (_, Kind::Union(written)) => {
            let same = |ty: &&Type| std::mem::discriminant(&ty.kind) == std::mem::discriminant(&reader.kind);
            let reads = |ty: &&Type| match (reader.name(), ty.name()) {
                (Some(reader), Some(writer)) => reader.reads(writer),
                _ => true,
            };
            match written.iter().find(|ty| same(ty) && reads(ty)) {
                Some(branch) => aligned(reader, branch),
                None => reader.clone(),
            }
        }
        _ => aligned(reader, writer),
    }
}

/// What the writer's record has for a field of the reader's.
pub(super) fn matching<'a>(field: &Field, writer: &'a Record) -> Option<&'a Field> {
    let named = |name: &str| writer.fields.iter().find(|written| written.name == name);
    named(&field.name).or_else(|| field.aliases.iter().find_map(|alias| named(alias)))
}

fn default_first(field: &mut Field) {
    if let (Some(serde_json::Value::Null), Kind::Union(branches)) = (&field.default, &mut field.ty.kind)
        && let Some(null) = branches.iter().position(|branch| branch.kind == Kind::Null)
    {
        branches[..=null].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encode::put_long;
    use super::*;

    const FLAT: &str = r#"{"type":"record","name":"F","fields":[{"name":"id","type":"long"},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"s","type":["null","string"]},{"name":"i","type":"int"},{"name":"n","type":{"type":"record","name":"N","fields":[{"name":"a","type":["string","null"]},{"name":"x","type":{"type":"fixed","name":"X","size":3}}]}},{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"b","type":"boolean"},{"name":"d","type":["double","null"]},{"name":"y","type":"bytes"}]}"#;

    type Row = (i64, u8, Option<String>, i32, i64, Option<f64>, Vec<u8>);

    fn row() -> impl Strategy<Value = Row> {
        let (text, bytes) = (prop::option::of("\\PC{0,9}"), prop::collection::vec(any::<u8>(), 0..9));
        (any::<i64>(), 0..4u8, text, any::<i32>(), any::<i64>(), prop::option::of(any::<f64>()), bytes)
    }

    fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
        put_long(bytes.len() as i64, out);
        out.extend_from_slice(bytes);
    }

    fn written((id, e, s, i, t, d, y): &Row) -> Vec<u8> {
        let mut out = vec![0, 0, 0, 0, 1];
        // Of 64 bits one is left over for each number: see `Rest::long`.
        put_long(*id >> 2, &mut out);
        put_long(i64::from(*e), &mut out);
        out.push(if s.is_some() { 2 } else { 0 });
        s.iter().for_each(|s| put_bytes(s.as_bytes(), &mut out));
        put_long(i64::from(*i), &mut out);
        out.extend_from_slice(&[0, 2, b'a', 1, 2, 3]);
        put_long(*t >> 2, &mut out);
        out.push(e & 1);
        out.push(if d.is_some() { 0 } else { 2 });
        d.iter().for_each(|d| out.extend_from_slice(&d.to_le_bytes()));
        put_bytes(y, &mut out);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// What one pass over the bytes gives, the general decoder gives too: of good values, of damaged ones, and of
        /// fields that are looked at and passed over.
        #[test]
        fn one_pass_gives_what_the_general_decoder_gives(
            rows in prop::collection::vec(row(), 1..5),
            damage in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..3usize)),
        ) {
            let mut values: Vec<Vec<u8>> = rows.iter().map(written).collect();
            if let Some((value, byte, to, cut)) = &damage {
                let value = value.index(values.len());
                let body = values[value].len() - PREFIX_BYTES;
                values[value][PREFIX_BYTES + byte.index(body)] = *to;
                values[value].truncate(PREFIX_BYTES + body - cut);
            }
            let values = BinaryArray::from_iter_values(&values);
            let indexes: Vec<u32> = (0..values.len() as u32).collect();
            for wanted in [&["id", "s", "i", "t", "b", "d", "y"][..], &["d", "s"], &["y", "id"], &[]] {
                let names: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
                let projected = schema::reader_schema(FLAT, Some(&names)).unwrap();
                let columns = schema::arrow_schema(&projected).unwrap().fields;
                let mut writer = Writer::new(1, FLAT, &schema::parse(&projected).unwrap(), &columns).unwrap();
                let flat = writer.flat.as_mut().unwrap().decode(&values, &indexes, &columns);
                prop_assert!(flat.is_some() || damage.is_some());
                if let Some(flat) = flat {
                    let general = writer.decode_generally(&values, &indexes, &columns);
                    // NaNs differ from themselves.
                    let shown = |columns: &[ArrayRef]| format!("{columns:?}");
                    prop_assert_eq!(Ok(shown(&flat)), general.map(|part| shown(&part.columns)));
                }
            }
        }
    }
}
