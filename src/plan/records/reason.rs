//! Rows of a `.late` port get a column that says why they are there.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::arrow_bug;
use crate::data::{Batch, DeadLetter, EncodedRows};
use crate::plan::{RecordEncoder, RecordEncoding};
use crate::report::Failure;

/// Why a row is on a port.
pub const REASON: &str = "_reason";

const LATE: &str = "its window had closed";

/// Encodes late rows with their reason, whatever the sink.
#[derive(Debug, Clone)]
pub struct WithReason(pub Arc<dyn RecordEncoding>);

impl RecordEncoding for WithReason {
    fn open(&self) -> Result<Box<dyn RecordEncoder>, Failure> {
        Ok(Box::new(ReasonEncoder(self.0.open()?)))
    }
}

struct ReasonEncoder(Box<dyn RecordEncoder>);

impl RecordEncoder for ReasonEncoder {
    fn encode(&mut self, batch: &Batch, dead: &mut Vec<DeadLetter>) -> Result<EncodedRows, Failure> {
        self.0.encode(&Batch { rows: with_reason(&batch.rows)?, ..*batch }, dead)
    }
}

fn with_reason(rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let mut fields: Vec<_> = rows.schema_ref().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(REASON, DataType::Utf8, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(LATE, rows.num_rows()))) as ArrayRef);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(arrow_bug)
}
