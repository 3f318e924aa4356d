//! Avro values that go from topic to topic as they are.
//!
//! Where nothing changes a source's columns on their way to a sink that shares its registry, a record's bytes are the
//! value to write, if the schema they were written with is registered under the sink's subject. That is asked once per
//! schema id and is a comparison per record. Records with another id are encoded again, under the sink's own schema, between
//! the others. So the columns need not be decoded for the sink's sake: those few records are decoded here.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};

use super::kafka::Places;
use super::{arrow_bug, copy_bytes, project, put};
use crate::data::meta;
use crate::formats::{Decoder, Encoder, Reject, WriterSchemas, framed_id};
use crate::plan::{OpenDecoder, OpenEncoder};
use crate::report::Failure;

/// Values that are passed on, or encoded again.
#[derive(Debug, Clone)]
pub struct PassedOn {
    /// All columns of the value.
    pub columns: Vec<String>,
    /// Decodes all of them.
    pub decoder: Arc<dyn OpenDecoder>,
    pub encoder: Arc<dyn OpenEncoder>,
    pub schemas: Arc<KnownSchemas>,
}

impl PassedOn {
    pub(super) fn open(&self) -> Result<Passing, Failure> {
        Ok(Passing {
            columns: self.columns.clone(),
            decoder: self.decoder.open()?,
            encoder: self.encoder.open()?,
            schemas: self.schemas.clone(),
            last: None,
        })
    }
}

/// Which schema ids the sink's subject knows.
#[derive(Debug)]
pub struct KnownSchemas {
    subject: String,
    /// The id of the sink's own schema, known when it is registered.
    own: Arc<OnceLock<i32>>,
    writers: Arc<WriterSchemas>,
    /// Answers of the registry.
    answers: Mutex<HashMap<i32, bool>>,
}

impl KnownSchemas {
    pub fn new(subject: String, own: Arc<OnceLock<i32>>, writers: Arc<WriterSchemas>) -> Self {
        KnownSchemas { subject, own, writers, answers: Mutex::default() }
    }

    /// Asks the registry the first time. One that does not answer costs speed only: then the id is encoded
    /// again until the next start, because a lane that asked for its rows a second time would write them twice.
    fn contains(&self, id: i32) -> bool {
        if self.own.get() == Some(&id) {
            return true;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(id).or_insert_with(|| {
            self.writers.is_registered(id, &self.subject).unwrap_or_else(|failure| {
                tracing::warn!(subject = self.subject, id, "values of this schema are encoded again: {failure}");
                false
            })
        })
    }
}

/// [`PassedOn`] at work in one lane.
pub(super) struct Passing {
    columns: Vec<String>,
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
    schemas: Arc<KnownSchemas>,
    /// Ids come in long runs: the last one and its answer.
    last: Option<(i32, bool)>,
}

impl Passing {
    pub fn encode(&mut self, rows: &RecordBatch, arena: &mut Vec<u8>) -> Result<Places, Failure> {
        let index = rows.schema_ref().index_of(meta::VALUE_BYTES).map_err(arrow_bug)?;
        let values = rows.column(index).as_binary::<i32>();
        let others: Vec<u32> = (0..values.len() as u32).filter(|row| !self.passes(values, *row as usize)).collect();
        if others.is_empty() {
            return Ok((copy_bytes(rows, meta::VALUE_BYTES, arena)?, Vec::new()));
        }
        let (again, rejects) = self.encode_again(rows, values, &UInt32Array::from(others.clone()), arena)?;
        let mut again = others.into_iter().zip(again).peekable();
        let places = (0..values.len()).map(|row| match again.next_if(|(other, _)| *other as usize == row) {
            Some((_, place)) => place,
            None => Some(put(values.value(row), arena)),
        });
        Ok((places.collect(), rejects))
    }

    fn passes(&mut self, values: &BinaryArray, row: usize) -> bool {
        let Some(id) = values.is_valid(row).then(|| framed_id(values.value(row))).flatten() else { return false };
        match self.last {
            Some((last, passes)) if last == id => passes,
            _ => {
                let passes = self.schemas.contains(id);
                self.last = Some((id, passes));
                passes
            }
        }
    }

    /// The places of the rows `others`, and rejects by their index in `rows`.
    fn encode_again(
        &mut self,
        rows: &RecordBatch,
        values: &BinaryArray,
        others: &UInt32Array,
        arena: &mut Vec<u8>,
    ) -> Result<Places, Failure> {
        let is_there = |name: &String| rows.schema_ref().column_with_name(name).is_some();
        let (columns, mut rejects) = if self.columns.iter().all(is_there) {
            (take_record_batch(&project(rows, &self.columns)?, others).map_err(arrow_bug)?, Vec::new())
        } else {
            let bytes = take(values, others, None).map_err(arrow_bug)?;
            // The source knows their schemas: hardly ever is anybody waited for; see `contains`.
            let decoded = self.decoder.decode(bytes.as_binary::<i32>())?;
            (decoded.rows, decoded.rejects)
        };
        let (encoded, refused) = self.encoder.encode(&columns, arena)?;
        // Where each encoded row stands among the others: those that do not decode have left.
        let decoded: Vec<usize> =
            (0..others.len()).filter(|at| rejects.binary_search_by_key(at, |reject| reject.index).is_err()).collect();
        let mut places: Vec<Option<Range<u32>>> = vec![None; others.len()];
        for (at, place) in decoded.iter().zip(encoded) {
            places[*at] = Some(place);
        }
        rejects.extend(refused.into_iter().map(|reject| Reject { index: decoded[reject.index], ..reject }));
        rejects.sort_by_key(|reject| reject.index);
        for reject in &mut rejects {
            reject.index = others.value(reject.index) as usize;
        }
        Ok((places, rejects))
    }
}
