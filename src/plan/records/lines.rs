//! Values alone: lines of a file or a console, and records that are only counted.
//!
//! A value is one line without its line break; whoever writes it adds that.

use std::sync::Arc;

use super::{copy_bytes, project, written};
use crate::connectors::console::TableText;
use crate::data::{Batch, DeadLetter, EncodedRecord, EncodedRows, dead_letter, meta};
use crate::formats::Encoder;
use crate::plan::{Mode, OpenEncoder, RecordEncoder, RecordEncoding};
use crate::report::Failure;

/// Each row as one value.
#[derive(Debug, Clone)]
pub struct Lines {
    pub columns: Vec<String>,
    pub encoder: Arc<dyn OpenEncoder>,
    pub mode: Mode,
}

impl RecordEncoding for Lines {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(LinesEncoder { spec: self.clone(), encoder: self.encoder.open()? }))
    }
}

struct LinesEncoder {
    spec: Lines,
    encoder: Box<dyn Encoder>,
}

impl RecordEncoder for LinesEncoder {
    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let written = written(batch, self.spec.mode)?;
        let mut out = EncodedRows::default();
        let rows = project(&written.batch.rows, &self.spec.columns)?;
        let (places, rejects) = self.encoder.encode(&rows, &mut out.arena)?;
        let mut rejects = rejects.into_iter().peekable();
        for (row, place) in places.into_iter().enumerate() {
            match rejects.next_if(|reject| reject.index == row) {
                Some(reject) => dead.push(dead_letter(&written.batch, row, reject.code, reject.reason)),
                None => {
                    out.records.push(EncodedRecord { key: None, value: Some(place), timestamp: None, headers: 0..0 })
                }
            }
        }
        Ok(out)
    }
}

/// The bytes of the record that each row came from, as one line.
#[derive(Debug, Clone, Copy)]
pub struct OriginalLines;

impl RecordEncoding for OriginalLines {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(*self))
    }
}

impl RecordEncoder for OriginalLines {
    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        let mut out = EncodedRows::default();
        let places = copy_bytes(&batch.rows, meta::VALUE_BYTES, &mut out.arena)?;
        for (row, place) in places.into_iter().enumerate() {
            let refusal = match &place {
                None => Some(("sink.null_value", "its value is null, and a line cannot be")),
                Some(place) if out.bytes(place).contains(&b'\n') => {
                    Some(("sink.line_break", "its value has a line break, and would be several lines"))
                }
                Some(_) => None,
            };
            match refusal {
                Some((code, reason)) => dead.push(dead_letter(batch, row, code, reason)),
                None => out.records.push(EncodedRecord { key: None, value: place, timestamp: None, headers: 0..0 }),
            }
        }
        Ok(out)
    }
}

/// Aligned text for people; all lanes print one table.
#[derive(Debug, Clone, Default)]
pub struct OpenTable(TableText);

impl OpenEncoder for OpenTable {
    fn open(&self) -> Result<Box<dyn Encoder>, Failure> {
        Ok(Box::new(self.0.clone()))
    }
}

/// Records without bytes: for sinks that only count.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub mode: Mode,
}

impl RecordEncoding for Counted {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(*self))
    }
}

impl RecordEncoder for Counted {
    fn encode(&mut self, batch: &Batch, _dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        Ok(empty_records(written(batch, self.mode)?.batch.rows.num_rows()))
    }

    fn encode_dead(&mut self, dead: &[DeadLetter]) -> Result<EncodedRows, Failure> {
        Ok(empty_records(dead.len()))
    }
}

fn empty_records(count: usize) -> EncodedRows {
    let record = EncodedRecord { key: None, value: Some(0..0), timestamp: None, headers: 0..0 };
    EncodedRows { records: vec![record; count], ..EncodedRows::default() }
}
