//! Where a plan keeps its journal, opened.

use std::any::Any;

use crate::connectors::kafka::{JournalSink, KafkaJournal, KafkaSink};
use crate::journal::Journal;
use crate::journal::file::FileJournal;
use crate::plan::{JournalPlace, Plan};
use crate::report::Failure;

/// The journal of a plan with the transactional sinks that commit with it; nothing is connected yet.
pub fn open_journal(plan: &Plan) -> Result<Box<dyn Journal>, Failure> {
    match &plan.journal {
        JournalPlace::File(folder) => Ok(Box::new(FileJournal::new(folder.clone()))),
        JournalPlace::Kafka { cluster, topic, transactional_id } => {
            let sinks = plan.sinks.iter().enumerate().filter_map(|(index, sink)| {
                let sink = (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>()?;
                Some(JournalSink { sink: index, topic: sink.topic.clone(), properties: sink.properties.clone() })
            });
            Ok(Box::new(KafkaJournal::new(cluster.client(), topic, transactional_id, sinks.collect())?))
        }
    }
}
