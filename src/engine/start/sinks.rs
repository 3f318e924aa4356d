//! Opens the sinks that do not commit with the journal.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::connectors::{Delivery, EpochRows, MemberSink, Writer};
use crate::engine::memory::Memory;
use crate::engine::metrics::Metrics;
use crate::engine::recovery::Recovery;
use crate::engine::sinks::{Limits, Opened, SinkWorker};
use crate::plan::Plan;
use crate::report::Failure;

/// A writer and the sinks of the plan that it writes.
pub(super) struct Written {
    pub(super) members: Vec<usize>,
    pub(super) writer: Box<dyn Writer>,
}

/// Opens everything that does not commit with the journal; sinks that are written together have one writer.
pub(super) fn open_writers(plan: &Plan) -> Result<Vec<Written>, Failure> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, sink) in plan.sinks.iter().enumerate().filter(|(_, s)| s.sink.delivery() != Delivery::Transaction) {
        let together = sink.sink.together();
        let same = |group: &&mut Vec<usize>| together.is_some() && plan.sinks[group[0]].sink.together() == together;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    let open = |members: Vec<usize>| {
        let sinks = members.iter().map(|index| MemberSink { index: *index, sink: &*plan.sinks[*index].sink });
        let writer = plan.sinks[members[0]].sink.open_together(&sinks.collect::<Vec<_>>())?;
        Ok(Written { members, writer })
    };
    groups.into_iter().map(open).collect()
}

/// I12: output of an earlier lineage takes on ours before anything is journaled under it. A crash in between
/// leaves a journal that is as empty as it was; one behind it finds sinks that belong to the journal.
pub(super) fn adopt(writers: &mut [Written], recovery: &Recovery) -> Result<(), Failure> {
    for Written { writer, .. } in writers {
        if writer.progress().is_some_and(|progress| progress.lineage != recovery.lineage) {
            writer.write(&recovery.lineage, &[EpochRows::empty(recovery.last)])?;
        }
    }
    Ok(())
}

pub(super) fn start_sinks(
    plan: &Plan,
    writers: Vec<Written>,
    recovery: &Recovery,
    memory: &Memory,
    news: &Arc<Notify>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<SinkWorker>, Failure> {
    let start = |Written { members, writer }: Written| {
        let names: Vec<&str> = members.iter().map(|index| plan.sinks[*index].name.as_str()).collect();
        let opened = Opened {
            name: names.join(", "),
            forgets: plan.sinks[members[0]].sink.delivery() == Delivery::AtLeastOnce,
            writer,
            members: members.iter().map(|index| (*index, recovery.sinks[*index])).collect(),
            lineage: recovery.lineage.clone(),
            limits: Limits { bytes: memory.shares.backlog, ..Limits::default() },
            held: memory.gauge(format!("backlog of `{}`", names.join("`, `"))),
            news: news.clone(),
            metrics: metrics.clone(),
        };
        SinkWorker::start(opened)
    };
    writers.into_iter().map(start).collect()
}
