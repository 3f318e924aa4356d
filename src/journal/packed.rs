//! Partitions of an epoch's record, written small where they are many (I13).
//!
//! A record names every partition, and Kafka refuses records of more than about a megabyte: ten thousand
//! partitions as JSON objects are 1.2 MB, packed 120 KB. A source whose partitions stand at offsets is written
//! as one text per topic: a version, then numbers of five bits a letter, the lowest first, with their sign in
//! the first bit (as source maps have them). Each partition is held against the one before it, which is seldom far.
//!
//! Sources with few partitions, and those whose positions are no offsets, stay objects that people can read.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PartitionRecord;
use crate::data::{Offset, PartitionName, Position};

/// By source name, by partition.
pub type Partitions = BTreeMap<String, Ranges>;
type Ranges = BTreeMap<PartitionName, PartitionRecord>;

/// About what a partition takes in a record, and what each rejected range adds.
pub const PARTITION_BYTES: usize = 16;
pub const RANGE_BYTES: usize = 6;

/// So many partitions and ranges are still objects.
const READABLE_MAX: usize = 32;
/// Stands in front of what follows it.
const VERSION: &str = "1:";
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const HAS_TIME: i64 = 1;
const HAS_TIMESTAMP: i64 = 2;
const HAS_RANGES: i64 = 4;

/// One source, as it is stored.
#[derive(Serialize)]
#[serde(untagged)]
enum Stored {
    /// By topic, where they have any.
    Packed(Vec<(Option<String>, String)>),
    Readable(Ranges),
}

pub fn serialize<S: Serializer>(partitions: &Partitions, serializer: S) -> Result<S::Ok, S::Error> {
    let stored = |partitions: &Ranges| match packed(partitions) {
        Some(topics) => Stored::Packed(topics),
        None => Stored::Readable(partitions.clone()),
    };
    serializer.collect_map(partitions.iter().map(|(source, partitions)| (source, stored(partitions))))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Partitions, D::Error> {
    // By hand: serde cannot read numbers as keys from within an untagged enum.
    let stored = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
    let read = |(source, value): (String, serde_json::Value)| {
        let partitions = match value {
            packed @ serde_json::Value::Array(_) => {
                let topics: Vec<(Option<String>, String)> = serde_json::from_value(packed).map_err(D::Error::custom)?;
                unpacked(&topics).ok_or_else(|| D::Error::custom("broken partitions"))?
            }
            readable => serde_json::from_value(readable).map_err(D::Error::custom)?,
        };
        Ok((source, partitions))
    };
    stored.into_iter().map(read).collect()
}

/// `None`: they are few, or not all at offsets.
fn packed(partitions: &Ranges) -> Option<Vec<(Option<String>, String)>> {
    let size: usize = partitions.values().map(|record| 1 + record.rejected.len()).sum();
    if size <= READABLE_MAX {
        return None;
    }
    let mut topics: Vec<(Option<String>, String)> = Vec::new();
    let mut before = Before::default();
    for (name, record) in partitions {
        if topics.last().is_none_or(|(topic, _)| *topic != name.topic) {
            topics.push((name.topic.clone(), VERSION.to_owned()));
            before = Before::default();
        }
        let (_, out) = topics.last_mut()?;
        let (from, to) = (record.from.as_offset()?, record.to.as_offset()?);
        put(out, i64::from(name.number).wrapping_sub(before.partition));
        let flag = |set: bool, flag: i64| if set { flag } else { 0 };
        put(
            out,
            flag(record.max_time.is_some(), HAS_TIME)
                | flag(record.max_timestamp.is_some(), HAS_TIMESTAMP)
                | flag(!record.rejected.is_empty(), HAS_RANGES),
        );
        put(out, from.wrapping_sub(before.from));
        put(out, to.wrapping_sub(from));
        put(out, to.wrapping_sub(from).wrapping_sub(record.read as i64));
        before.partition = i64::from(name.number);
        before.from = from;
        for time in record.max_time.into_iter().chain(record.max_timestamp) {
            put(out, time.wrapping_sub(before.time));
            before.time = time;
        }
        if !record.rejected.is_empty() {
            put(out, record.rejected.len() as i64);
            let mut end = from;
            for (first, behind) in &record.rejected {
                put(out, first.wrapping_sub(end));
                put(out, behind.wrapping_sub(*first));
                end = *behind;
            }
        }
    }
    Some(topics)
}

/// What the next partition is held against.
#[derive(Default)]
struct Before {
    partition: i64,
    from: Offset,
    time: i64,
}

fn unpacked(topics: &[(Option<String>, String)]) -> Option<Ranges> {
    let mut partitions = BTreeMap::new();
    for (topic, text) in topics {
        unpack(topic, text, &mut partitions)?;
    }
    Some(partitions)
}

fn unpack(topic: &Option<String>, text: &str, partitions: &mut Ranges) -> Option<()> {
    let mut letters = text.strip_prefix(VERSION)?.bytes().peekable();
    let mut before = Before::default();
    while letters.peek().is_some() {
        let mut next = || get(&mut letters);
        before.partition = before.partition.wrapping_add(next()?);
        let flags = next()?;
        let from = before.from.wrapping_add(next()?);
        let length = next()?;
        let to = from.wrapping_add(length);
        let read = length.wrapping_sub(next()?) as u64;
        before.from = from;
        let mut time = |has: i64| -> Option<Option<i64>> {
            if flags & has == 0 {
                return Some(None);
            }
            before.time = before.time.wrapping_add(next()?);
            Some(Some(before.time))
        };
        let (max_time, max_timestamp) = (time(HAS_TIME)?, time(HAS_TIMESTAMP)?);
        let mut rejected = Vec::new();
        if flags & HAS_RANGES != 0 {
            let (count, mut end) = (next()?, from);
            for _ in 0..count {
                let first = end.wrapping_add(next()?);
                end = first.wrapping_add(next()?);
                rejected.push((first, end));
            }
        }
        let (from, to) = (Position::offset(from), Position::offset(to));
        let record = PartitionRecord { from, to, read, rejected, max_time, max_timestamp };
        let number = i32::try_from(before.partition).ok()?;
        partitions.insert(PartitionName { topic: topic.clone(), number }, record);
    }
    Some(())
}

fn put(out: &mut String, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 32 {
        out.push(char::from(LETTERS[(left & 31) as usize + 32]));
        left >>= 5;
    }
    out.push(char::from(LETTERS[left as usize]));
}

fn get(letters: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let (mut bits, mut shift) = (0u64, 0);
    loop {
        let digit = match letters.next()? {
            letter @ b'A'..=b'Z' => letter - b'A',
            letter @ b'a'..=b'z' => letter - b'a' + 26,
            letter @ b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits |= u64::from(digit & 31).checked_shl(shift)?;
        if digit < 32 {
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
        shift += 5;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EpochRecord, Record};
    use super::*;
    use crate::time::Watermark;

    fn epoch(partitions: Ranges) -> Record {
        Record::Epoch(EpochRecord {
            lineage: "4f6e1c52-7a35-4c9e-9a44-1b8f7f4b5c11".into(),
            incarnation: 3,
            epoch: 12_345,
            partitions: BTreeMap::from([("ratings".to_owned(), partitions)]),
            watermark: Watermark::at(1_767_225_600_000),
            clock: 1_767_225_600_500,
            needed: 12_300,
            learnt: BTreeMap::new(),
            last_windows: BTreeMap::new(),
            ended: false,
            continues: None,
            cursor: None,
            failed: None,
        })
    }

    fn partition(number: i64) -> PartitionRecord {
        let (from, rows) = (40_000_000 + number * 7_919 % 1_000_000, number % 40);
        PartitionRecord {
            from: Position::offset(from),
            to: Position::offset(from + rows),
            read: rows as u64,
            rejected: Vec::new(),
            max_time: Some(1_767_225_600_000 - number * 997 % 60_000),
            max_timestamp: Some(1_767_225_600_000 - number * 997 % 60_000),
        }
    }

    fn round_trip(record: &Record) -> usize {
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(&serde_json::from_str::<Record>(&text).unwrap(), record);
        text.len()
    }

    #[test]
    fn i13_ten_thousand_partitions_fit_into_a_record_that_kafka_takes() {
        let all =
            |count: i64| (0..count).map(|number| (PartitionName::from(number as i32), partition(number))).collect();
        let bytes = round_trip(&epoch(all(10_000)));
        assert!(bytes <= 10_000 * PARTITION_BYTES, "{bytes} bytes");
        assert!(round_trip(&epoch(all(6))) < 1_000);
    }

    #[test]
    fn i13_every_second_record_rejected_takes_what_the_cut_counts_with() {
        let rejected: Vec<(Offset, Offset)> = (0..40_000).map(|n| (500_000_000 + 2 * n, 500_000_001 + 2 * n)).collect();
        let one = PartitionRecord {
            from: Position::offset(500_000_000),
            to: Position::offset(500_080_000),
            read: 80_000,
            rejected,
            ..partition(0)
        };
        let bytes = round_trip(&epoch(BTreeMap::from([(0.into(), one)])));
        assert!(bytes <= 40_000 * RANGE_BYTES, "{bytes} bytes");
    }

    #[test]
    fn extremes_and_holes_come_back() {
        let ends = [0, 1, -1, i64::MAX, i64::MIN, 1 << 40];
        let record = |from: i64, to: i64| PartitionRecord {
            from: Position::offset(from),
            to: Position::offset(to),
            read: from as u64,
            rejected: if from == 0 { vec![(to, 3), (i64::MIN, i64::MAX)] } else { Vec::new() },
            max_time: (from != 1).then_some(to),
            max_timestamp: (to != 1).then_some(from),
        };
        let pairs = ends.iter().flat_map(|from| ends.map(|to| record(*from, to)));
        round_trip(&epoch((0..).step_by(1_000).map(PartitionName::from).zip(pairs).collect()));
    }

    #[test]
    fn topics_are_told_apart() {
        let name = |topic: &str, number: i64| PartitionName { topic: Some(topic.into()), number: number as i32 };
        let of = |topic: &'static str| (0..30).map(move |number| (name(topic, number), partition(number)));
        let bytes = round_trip(&epoch(of("ratings").chain(of("views/eu")).collect()));
        assert!(bytes < 60 * PARTITION_BYTES + 400, "{bytes} bytes");
    }

    #[test]
    fn positions_that_are_no_offsets_stay_as_they_are() {
        let at = |byte: i64| Position(serde_json::json!({ "path": "a.json", "byte": byte }));
        let of = |n: i32| (n.into(), PartitionRecord { from: at(0), to: at(7), ..partition(0) });
        round_trip(&epoch((0..100).map(of).collect()));
    }

    #[test]
    fn broken_texts_are_refused_and_no_panic() {
        let one = |text: &str| unpacked(&[(None, text.to_owned())]);
        let whole = packed(&(0..100).map(|n| ((n as i32).into(), partition(n))).collect()).unwrap().remove(0).1;
        for text in ["", "1", "2:AAA", "1:A", "1:!!!!!", "1://////////////////////", "1:ggggggggggggggggggggA"] {
            assert_eq!(one(text), None, "{text}");
        }
        // Cut anywhere it is either refused or whole partitions.
        (2..whole.len()).for_each(|cut| assert!(one(&whole[..cut]).is_none_or(|read| read.len() <= 100)));
    }

    /// Written before partitions were packed: read for ever.
    #[test]
    fn records_of_the_first_release_are_read() {
        let text = include_str!("../../tests/stored/journal-1.jsonl");
        let records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let Record::Epoch(epoch) = &records[0] else { panic!("{records:?}") };
        let range = &epoch.partitions["s"][&39.into()];
        assert_eq!((range.read, &range.to, &range.rejected), (3, &Position::offset(1_042), &vec![(1_040, 1_041)]));
        assert_eq!(epoch.partitions["s"].len(), 40);
    }
}
