//! The `.failed` port of a source: records that gave no row, as bytes and metadata with the reason.
//!
//! Somebody reads it, or such records are dead letters. Its rows stand in the order of their offsets (I2), and are rejects of
//! their range either way (I13).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::take;

use super::branch::{Pass, Running};
use super::headers;
use crate::connectors::Payload;
use crate::data::{Batch, Offset, Partition, REASON, RawBatch, SourceIndex, VALUE, failed_columns, meta, partition};
use crate::report::Failure;
use crate::time::Millis;
use crate::transforms::Partial;

/// Collects the records of one poll that gave no row.
pub(super) struct Failed {
    reads: Running,
    records: Vec<(Offset, String)>,
}

impl Failed {
    pub fn new(reads: Running) -> Self {
        Failed { reads, records: Vec::new() }
    }

    /// True if the record goes to the port, and so is no dead letter.
    pub fn takes(&mut self, offset: Offset, reason: &str) -> bool {
        if self.reads.is_read() {
            self.records.push((offset, reason.to_owned()));
        }
        self.reads.is_read()
    }

    /// The records that were collected come again.
    pub fn forget(&mut self) {
        self.records.clear();
    }

    /// Gives what was collected to whoever reads the port.
    pub fn run(&mut self, payload: &Payload, pass: &mut Pass<'_>) -> Result<(), Failure> {
        let mut records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return Ok(());
        }
        let Payload::Raw(raw) = payload else {
            return Err(Failure::bug("lane.failed", "typed rows have no bytes for a port"));
        };
        records.sort_by_key(|(offset, _)| *offset);
        let rows = rows(raw, &records, pass.at.clock)?;
        self.reads.run(Batch { source: raw.source, partition: raw.partition, rows }, pass)
    }

    pub fn take_partials(&mut self, into: &mut Vec<(usize, SourceIndex, Partition, Partial)>) -> Result<(), Failure> {
        self.reads.take_partials(into)
    }
}

fn rows(raw: &RawBatch, records: &[(Offset, String)], clock: Millis) -> Result<RecordBatch, Failure> {
    let bug = |error| Failure::bug("lane.failed", "failed records do not fit their columns").because(error);
    let index = |offset: &Offset| raw.offsets.binary_search(offset).ok().map(|index| index as u32);
    let indexes: UInt32Array = records.iter().map(|(offset, _)| index(offset)).collect();
    if indexes.null_count() > 0 {
        return Err(Failure::bug("lane.failed", "a record failed that was not read"));
    }
    let count = indexes.len();
    let times = TimestampMillisecondArray::from(match &raw.timestamps {
        Some(times) => times.clone(),
        None => vec![clock; raw.len()],
    });
    let schema = failed_columns();
    let column = |field: &arrow::datatypes::FieldRef| -> Result<ArrayRef, Failure> {
        let all: ArrayRef = match field.name().as_str() {
            REASON => return Ok(Arc::new(StringArray::from_iter_values(records.iter().map(|(_, reason)| reason)))),
            meta::TOPIC => {
                return Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*raw.topic, count))));
            }
            meta::PARTITION => return Ok(Arc::new(Int32Array::from_value(partition::number(raw.partition), count))),
            VALUE | meta::VALUE_BYTES => Arc::new(raw.values.clone()),
            meta::KEY | meta::KEY_BYTES => Arc::new(raw.keys.clone()),
            meta::OFFSET => Arc::new(Int64Array::from(raw.offsets.clone())),
            meta::TIMESTAMP => match raw.timestamps {
                Some(_) => Arc::new(times.clone().with_timezone("UTC")),
                None => Arc::new(TimestampMillisecondArray::from(vec![None; raw.len()]).with_timezone("UTC")),
            },
            // I7: it may have failed for its very time.
            meta::TIME => {
                let sane = times.iter().map(|time| time.map(|time| if time < 0 { clock } else { time.min(clock) }));
                Arc::new(sane.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            meta::HEADERS => headers::map(raw, field)?,
            _ => headers::list(raw, field)?,
        };
        take(&all, &indexes, None).map_err(bug)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns).map_err(bug)
}
