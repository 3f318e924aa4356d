//! Where a plan keeps its journal, opened.

use std::any::Any;

use crate::connectors::kafka::{JournalSink, KafkaJournal, KafkaSink, Written};
use crate::journal::Journal;
use crate::journal::file::FileJournal;
use crate::plan::{JournalPlace, Plan};
use crate::report::Failure;

/// The journal of a plan with the transactional sinks that commit with it; nothing is connected yet.
pub fn open_journal(plan: &Plan) -> Result<Box<dyn Journal>, Failure> {
    match &plan.journal {
        JournalPlace::File(folder) => Ok(Box::new(FileJournal::new(folder.clone()))),
        JournalPlace::Kafka { cluster, topic, transactional_id, at_least_once, .. } => {
            let sinks = plan.sinks.iter().enumerate().filter_map(|(index, sink)| {
                let sink = (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>()?;
                if sink.written != Written::WithJournal {
                    return None;
                }
                Some(JournalSink { sink: index, topic: sink.topic.clone(), properties: sink.properties.clone() })
            });
            let journal = KafkaJournal::new(cluster.client(), topic, transactional_id, sinks.collect())?;
            Ok(Box::new(if *at_least_once { journal.without_transactions() } else { journal }))
        }
    }
}
