//! Whether records are where their order wants them.

use std::collections::{BTreeMap, HashMap};

use super::Wanted;
use super::record::{hash, shown};
use super::report::{Report, partition_of};
use crate::connectors::kafka::Scanned;
use crate::data::{Offset, Partition};
use crate::time::Millis;

/// A place in the source: its partition (numbered over all of its topics), and what grows there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub part: u32,
    pub at: i64,
}

/// A key's newest record in the sink.
struct OfKey {
    partition: Partition,
    source: Option<Place>,
}

/// Looks at the sink's records in the order of each of its partitions.
pub struct Order {
    by_partition: bool,
    by_key: bool,
    by_time: bool,
    /// By sink partition and source partition: the last place.
    places: BTreeMap<(Partition, u32), i64>,
    times: BTreeMap<Partition, Millis>,
    keys: HashMap<u64, OfKey>,
}

impl Order {
    pub fn of(wanted: &Wanted) -> Order {
        Order {
            by_partition: wanted.order_by_partition,
            by_key: wanted.order_by_key,
            by_time: wanted.order_by_time,
            places: BTreeMap::new(),
            times: BTreeMap::new(),
            keys: HashMap::new(),
        }
    }

    /// Looks at what a record itself says; `source` is where it comes from, where that is known by now.
    pub fn look(&mut self, topic: &str, record: &Scanned<'_>, source: Option<Place>, report: &mut Report) {
        let (partition, offset) = (record.partition, record.offset);
        let here = || format!("{} offset {offset}", partition_of(topic, partition));
        if self.by_time
            && let Some(time) = record.timestamp()
        {
            let last = self.times.entry(partition).or_insert(time);
            if time < *last {
                let earlier = *last - time;
                report.disorder_by_time.add(|| format!("{} is {earlier} ms earlier than one before it", here()));
            }
            *last = time.max(*last);
        }
        if self.by_key
            && let Some(key) = record.key()
        {
            let found = self.keys.entry(hash(&[Some(key)])).or_insert(OfKey { partition, source });
            if found.partition != partition {
                let other = found.partition;
                report
                    .disorder_by_key
                    .add(|| format!("key {} is in partition {other} too, at {}", shown(Some(key)), here()));
            }
            let is_behind =
                matches!((found.source, source), (Some(last), Some(now)) if last.part == now.part && now.at < last.at);
            if is_behind {
                report.disorder_by_key.add(|| format!("{} is behind a later one of key {}", here(), shown(Some(key))));
            } else {
                *found = OfKey { partition, source };
            }
        }
        if let Some(source) = source {
            self.place(topic, (partition, offset), source, report);
        }
    }

    /// Looks at where a record comes from. Records of a sink partition are given in its order.
    pub fn place(&mut self, topic: &str, at: (Partition, Offset), source: Place, report: &mut Report) {
        if !self.by_partition {
            return;
        }
        let last = self.places.entry((at.0, source.part)).or_insert(source.at);
        if source.at < *last {
            report.disorder_by_partition.add(|| {
                format!("{} offset {} is behind a later one of its source partition", partition_of(topic, at.0), at.1)
            });
        }
        *last = source.at.max(*last);
    }
}
