//! Compares by where each record says that it comes from: the sink first, then what is expected.

use std::collections::BTreeMap;

use super::Wanted;
use super::compaction::Compaction;
use super::expected::{Expected, Part};
use super::offsets::Offsets;
use super::order::{Order, Place};
use super::record::Origin;
use super::report::{Ranges, Report, partition_of};
use crate::connectors::kafka::Scan;
use crate::data::{Offset, Partition};
use crate::report::Failure;

/// What is known of a source partition.
#[derive(Default)]
struct Known {
    begin: Offset,
    found: Offsets,
    /// Those of them that were expected.
    expected: Offsets,
    gaps: Ranges,
    behind: Ranges,
    gone: u64,
}

/// Parts by topic and number.
struct Parts(Vec<Vec<Option<u32>>>);

impl Parts {
    fn of(parts: &[Part]) -> Parts {
        let mut all: Vec<Vec<Option<u32>>> = Vec::new();
        for (index, part) in (0..).zip(parts) {
            let number = part.partition as usize;
            all.resize_with(all.len().max(part.topic + 1), Vec::new);
            let of_topic = &mut all[part.topic];
            of_topic.resize(of_topic.len().max(number + 1), None);
            of_topic[number] = Some(index);
        }
        Parts(all)
    }

    fn find(&self, (topic, partition, _): (usize, Partition, Offset)) -> Option<u32> {
        *self.0.get(topic)?.get(usize::try_from(partition).ok()?)?
    }
}

pub fn compare(
    wanted: &Wanted,
    expected: &mut dyn Expected,
    sink: &mut Scan,
    share: &mut dyn FnMut(f64),
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let parts = expected.parts().to_vec();
    let topics = expected.topics().to_vec();
    let index = Parts::of(&parts);
    let mut known: Vec<Known> = parts.iter().map(|part| Known { begin: part.begin, ..Known::default() }).collect();
    let mut order = Order::of(wanted);
    let topic = sink.topic().to_owned();
    loop {
        let more = sink.more(|record| {
            report.found += 1;
            let mut origin = Origin::default();
            record.headers(|name, value| origin.note(name, value, &topics));
            let origin = origin.get(&topics);
            let here = || format!("{} offset {}", partition_of(&topic, record.partition), record.offset);
            let Some((part, at)) = origin.and_then(|origin| Some((index.find(origin)?, origin.2))) else {
                report.unidentified.add(here);
                order.look(&topic, record, None, &mut report);
                return Ok(());
            };
            let of_part = &mut known[part as usize];
            let is_new = of_part.found.insert(at);
            if !is_new {
                let Part { topic, partition, .. } = &parts[part as usize];
                let of = partition_of(&topics[*topic], *partition);
                report.duplicates.add(|| format!("{of} offset {at} again at {}", here()));
            } else if at < of_part.begin {
                of_part.gone += 1;
            }
            // What comes twice is no disorder as well.
            order.look(&topic, record, is_new.then_some(Place { part, at }), &mut report);
            Ok(())
        })?;
        share(sink.share() / 2.0);
        if !more {
            break;
        }
    }
    expect_all(wanted, expected, &index, &mut known, &mut report, share)?;
    for (part, known) in parts.iter().zip(known) {
        let topic = &topics[part.topic];
        known.gaps.into_finding(topic, part.partition, &mut report.gaps);
        known.behind.into_finding(topic, part.partition, &mut report.behind);
        report.gone += known.gone;
        let mut unexpected = Ranges::default();
        for at in known.found.without(known.expected).filter(|at| *at >= known.begin) {
            if expected.compacted() { report.gone += 1 } else { unexpected.add(at) }
        }
        unexpected.into_finding(topic, part.partition, &mut report.unexpected);
    }
    report.read = expected.read();
    Ok(report)
}

fn expect_all(
    wanted: &Wanted,
    expected: &mut dyn Expected,
    index: &Parts,
    known: &mut [Known],
    report: &mut Report,
    share: &mut dyn FnMut(f64),
) -> Result<(), Failure> {
    let mut compaction = Compaction::new(wanted.compacted);
    let last: BTreeMap<u32, Option<Offset>> = (0..).zip(known.iter().map(|known| known.found.max())).collect();
    let miss = |known: &mut Known, part: u32, at: Offset| {
        let is_behind = last[&part].is_none_or(|last| at > last);
        if is_behind { known.behind.add(at) } else { known.gaps.add(at) }
    };
    loop {
        let more = expected.more(&mut |record| {
            report.expected += 1;
            let place = record.origin.and_then(|origin| Some((index.find(origin)?, origin.2)));
            let (part, at) = place.ok_or_else(no_provenance)?;
            let of_part = &mut known[part as usize];
            if of_part.found.contains(at) {
                of_part.expected.insert(at);
                compaction.there(record.key);
            } else if let Some((part, at)) = compaction.missing(record.key, record.value.is_none(), (part, at)) {
                miss(of_part, part, at);
            }
            Ok(())
        })?;
        share(0.5 + expected.share() / 2.0);
        if !more {
            break;
        }
    }
    let (explained, left) = compaction.end();
    report.compacted = explained;
    let mut left: Vec<(u32, Offset)> = left.collect();
    left.sort_unstable();
    left.into_iter().for_each(|(part, at)| miss(&mut known[part as usize], part, at));
    Ok(())
}

fn no_provenance() -> Failure {
    Failure::user("verify.provenance", "the sink's records do not say where they come from")
        .hint("write `headers: provenance` in the sink, or compare by content")
}
