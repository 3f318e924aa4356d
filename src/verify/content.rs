//! Compares by content, key or column: both sides are read side by side, and what one has and the other not yet waits.
//!
//! Equal records are one as good as the other: as many must be there as are expected, the first of them first.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::compaction::Compaction;
use super::expected::{Expectation, Expected};
use super::order::{Order, Place};
use super::record::{column, hash, shown};
use super::report::{EXAMPLES, Finding, Report, partition_of};
use super::{By, Wanted};
use crate::connectors::kafka::Scan;
use crate::data::{HashedMap, Offset, Partition};
use crate::report::Failure;

/// So many records of a sink partition wait behind one that was not expected yet; then their order is looked at without it.
const WAITING_MAX: usize = 1 << 20;

fn identity(by: &By, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<u64, Failure> {
    match by {
        By::Key => Ok(hash(&[key])),
        By::Column(name) => column(name, value),
        By::Content | By::Provenance => Ok(hash(&[key, value])),
    }
}

/// Where equal records wait for their like.
struct Waiting {
    /// True: they are expected; false: they were found.
    expected: bool,
    first: Place,
    more: VecDeque<Place>,
}

/// A sink partition's records whose source is not known yet, and those behind them.
#[derive(Default)]
struct Queue {
    /// Offset, and where the record comes from.
    records: VecDeque<(Offset, Option<Place>)>,
}

/// What waits on either side.
#[derive(Default)]
struct Ledger {
    waiting: HashedMap<Waiting>,
    queues: BTreeMap<Partition, Queue>,
    /// By source partition: the furthest place that was found.
    reached: BTreeMap<u32, i64>,
}

impl Ledger {
    fn expect(&mut self, id: u64, place: Place) {
        if let Some(found) = self.meet(id, place, true) {
            self.matched(place, found);
        }
    }

    fn found(&mut self, id: u64, found: Place) {
        self.queues.entry(found.part as Partition).or_default().records.push_back((found.at, None));
        if let Some(place) = self.meet(id, found, false) {
            self.matched(place, found);
        }
    }

    /// The like of a record that waits longest; otherwise it waits itself.
    fn meet(&mut self, id: u64, place: Place, expected: bool) -> Option<Place> {
        match self.waiting.entry(id) {
            Entry::Vacant(empty) => {
                empty.insert(Waiting { expected, first: place, more: VecDeque::new() });
                None
            }
            Entry::Occupied(mut waiting) if waiting.get().expected == expected => {
                waiting.get_mut().more.push_back(place);
                None
            }
            Entry::Occupied(mut waiting) => {
                let first = waiting.get().first;
                match waiting.get_mut().more.pop_front() {
                    Some(next) => waiting.get_mut().first = next,
                    None => drop(waiting.remove()),
                }
                Some(first)
            }
        }
    }

    fn matched(&mut self, source: Place, found: Place) {
        let reached = self.reached.entry(source.part).or_insert(source.at);
        *reached = source.at.max(*reached);
        let Some(queue) = self.queues.get_mut(&(found.part as Partition)) else { return };
        if let Ok(index) = queue.records.binary_search_by_key(&found.at, |(offset, _)| *offset) {
            queue.records[index].1 = Some(source);
        }
    }

    /// Looks at the order of what is known by now.
    fn settle(&mut self, topic: &str, order: &mut Order, report: &mut Report, all: bool) {
        for (partition, queue) in &mut self.queues {
            while let Some((offset, source)) = queue.records.front().copied() {
                if source.is_none() && !all && queue.records.len() < WAITING_MAX {
                    break;
                }
                queue.records.pop_front();
                if let Some(source) = source {
                    order.place(topic, (*partition, offset), source, report);
                }
            }
        }
    }
}

pub fn compare(
    wanted: &Wanted,
    expected: &mut dyn Expected,
    sink: &mut Scan,
    share: &mut dyn FnMut(f64),
) -> Result<Report, Failure> {
    let mut report = Report::default();
    let (mut ledger, mut order) = (Ledger::default(), Order::of(wanted));
    let topic = sink.topic().to_owned();
    let mut expects_more = true;
    while expects_more || !sink.ended() {
        if expects_more && (sink.ended() || expected.share() <= sink.share()) {
            expects_more = expected.more(&mut |record| {
                report.expected += 1;
                ledger.expect(identity(&wanted.by, record.key, record.value)?, record.place);
                Ok(())
            })?;
        } else {
            sink.more(|record| {
                report.found += 1;
                order.look(&topic, record, None, &mut report);
                let id = identity(&wanted.by, record.key(), record.value())?;
                ledger.found(id, Place { part: record.partition as u32, at: record.offset });
                Ok(())
            })?;
        }
        ledger.settle(&topic, &mut order, &mut report, false);
        share((expected.share() + sink.share()) / 2.0);
    }
    ledger.settle(&topic, &mut order, &mut report, true);
    report.read = expected.read();
    if !ledger.waiting.is_empty() {
        explain(wanted, expected, &topic, ledger, &mut report)?;
    }
    Ok(report)
}

/// Reads what is expected once more, to tell what waits in vain.
fn explain(
    wanted: &Wanted,
    expected: &mut dyn Expected,
    topic: &str,
    ledger: Ledger,
    report: &mut Report,
) -> Result<(), Failure> {
    let (missing, surplus): (Vec<_>, Vec<_>) = ledger.waiting.into_iter().partition(|(_, waiting)| waiting.expected);
    // By place, because of equal records some may be there.
    let mut places: HashSet<(u32, i64)> = HashSet::new();
    for (_, waiting) in &missing {
        places.extend(std::iter::once(&waiting.first).chain(&waiting.more).map(|place| (place.part, place.at)));
    }
    let surplus: HashedMap<Waiting> = surplus.into_iter().collect();
    let mut doubled: HashMap<u64, String> = HashMap::new();
    let mut compaction = Compaction::new(wanted.compacted);
    let mut missed: Vec<(Place, String)> = Vec::new();
    let (mut gaps, mut behind) = (Finding::default(), Finding::default());
    let mut miss = |place: Place, text: String, in_words: &dyn Fn(Place) -> String| {
        let is_behind = ledger.reached.get(&place.part).is_none_or(|reached| place.at > *reached);
        let finding = if is_behind { &mut behind } else { &mut gaps };
        finding.add(|| format!("{}: {text}", in_words(place)));
    };
    expected.again()?;
    let text = |record: &Expectation<'_>| format!("key {}, value {}", shown(record.key), shown(record.value));
    loop {
        let more = expected.more(&mut |record| {
            let id = identity(&wanted.by, record.key, record.value)?;
            if surplus.contains_key(&id) {
                doubled.entry(id).or_insert_with(|| text(record));
            }
            if !places.contains(&(record.place.part, record.place.at)) {
                compaction.there(record.key);
            } else {
                // Texts are made of those that may be shown.
                let shown = if missed.len() < EXAMPLES * 100 { text(record) } else { String::new() };
                if let Some(one) = compaction.missing(record.key, record.value.is_none(), (record.place, shown)) {
                    missed.push(one);
                }
            }
            Ok(())
        })?;
        if !more {
            break;
        }
    }
    let (explained, left) = compaction.end();
    report.compacted = explained;
    missed.extend(left);
    missed.sort_by_key(|(place, _)| (place.part, place.at));
    let in_words = |place| expected.place(place);
    missed.into_iter().for_each(|(place, text)| miss(place, text, &in_words));
    (report.gaps, report.behind) = (gaps, behind);
    let mut surplus: Vec<(u64, Place)> = surplus
        .into_iter()
        .flat_map(|(id, waiting)| std::iter::once(waiting.first).chain(waiting.more).map(move |place| (id, place)))
        .collect();
    surplus.sort_by_key(|(_, place)| (place.part, place.at));
    for (id, place) in surplus {
        let here = || format!("{} offset {}", partition_of(topic, place.part as Partition), place.at);
        match doubled.get(&id) {
            Some(text) => report.duplicates.add(|| format!("{text} again at {}", here())),
            None if expected.compacted() => report.gone += 1,
            None => report.unexpected.add(here),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of one sink partition, each with the place (of one source partition) that it comes from; `None`: it waits.
    fn known(ledger: &Ledger) -> Vec<(Offset, Option<i64>)> {
        ledger.queues[&0].records.iter().map(|(offset, source)| (*offset, source.map(|place| place.at))).collect()
    }

    fn at(at: i64) -> Place {
        Place { part: 0, at }
    }

    #[test]
    fn equal_records_meet_in_their_order_whichever_side_comes_first() {
        let mut ledger = Ledger::default();
        [1, 2, 3].into_iter().for_each(|n| ledger.expect(7, at(n)));
        [10, 11].into_iter().for_each(|n| ledger.found(7, at(n)));
        assert_eq!(known(&ledger), [(10, Some(1)), (11, Some(2))]);
        [12, 13, 14].into_iter().for_each(|n| ledger.found(7, at(n)));
        ledger.expect(7, at(4));
        assert_eq!(known(&ledger)[2..], [(12, Some(3)), (13, Some(4)), (14, None)]);
        assert_eq!(ledger.waiting.len(), 1);
        ledger.expect(7, at(5));
        assert!(ledger.waiting.is_empty(), "what is settled takes no memory");
    }

    #[test]
    fn order_is_looked_at_in_the_sinks_order_however_late_a_record_is_known() {
        let wanted = Wanted {
            by: By::Content,
            order_by_partition: true,
            order_by_key: false,
            order_by_time: false,
            compacted: false,
        };
        let (mut ledger, mut order, mut report) = (Ledger::default(), Order::of(&wanted), Report::default());
        // Found in the order b, a, c; expected in the order a, b, c.
        [(2, 10), (1, 11), (3, 12)].into_iter().for_each(|(id, offset)| ledger.found(id, at(offset)));
        [3, 2, 1].into_iter().for_each(|id| ledger.expect(id, at(id as i64)));
        ledger.settle("t", &mut order, &mut report, false);
        assert_eq!(report.disorder_by_partition.count, 1);
        assert_eq!(
            report.disorder_by_partition.examples,
            ["partition 0 of `t` offset 11 is behind a later one of its source partition"]
        );
        // One that nobody expects holds up those behind it, until all is known.
        ledger.found(9, at(13));
        ledger.found(4, at(14));
        ledger.expect(4, at(0));
        ledger.settle("t", &mut order, &mut report, false);
        assert_eq!(report.disorder_by_partition.count, 1);
        ledger.settle("t", &mut order, &mut report, true);
        assert_eq!(report.disorder_by_partition.count, 2);
    }
}
