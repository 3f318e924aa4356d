//! Made data, for tests and measurements: users on their devices, in visits, with features.
//!
//! Records come in the order of time, evenly spread over the hours that were asked for, each by a user drawn at
//! random. A user's time is divided into visits, and each visit is made on one of the user's devices. Nothing is
//! kept per user, so millions of them cost nothing. The same settings and seed give the same bytes, on every machine.

mod features;
mod output;

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

pub use features::{Feature, read as read_features};
pub use output::{Destination, Made, Pace, run};

use crate::data::{EncodedRecord, EncodedRows};
use crate::report::Failure;
use crate::time::Millis;

/// What is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many users there are; each is as likely as the others.
    pub users: u64,
    /// A user has one device or more, at most so many.
    pub devices: u64,
    /// How many visits a user makes over the whole time.
    pub visits: u64,
    pub features: Vec<Feature>,
    pub records: u64,
    /// Time of the first record.
    pub begin: Millis,
    /// The records' times are spread over this.
    pub span_ms: Millis,
    /// A record's time is up to this earlier than its place in the order says.
    pub disorder_ms: Millis,
    pub seed: u64,
    pub format: Format,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Csv,
}

/// The columns before the features.
const COLUMNS: [&str; 4] = ["ts", "uid", "device", "visit"];

impl Settings {
    /// # Errors
    /// `generate.settings` for numbers that make no records or are beyond counting.
    pub fn check(&self) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::user("generate.settings", what));
        if self.users == 0 || self.devices == 0 || self.visits == 0 {
            return wrong("users, devices and visits are 1 or more each".into());
        }
        // Places in time are computed as (record × visits) and (record × span) in 64 bits.
        let factor = self.visits.max(self.span_ms.max(0) as u64).max(1);
        if self.records.checked_mul(factor).is_none_or(|product| product > i64::MAX as u64) {
            return wrong(format!("{} records over that time are more than can be counted", self.records));
        }
        match self.users.checked_mul(self.devices) {
            Some(_) => Ok(()),
            None => wrong("users × devices are more than can be counted".into()),
        }
    }
}

/// Makes one record after the other.
pub struct Generator {
    settings: Settings,
    random: Xoshiro256PlusPlus,
    index: u64,
    /// What stands before each feature's value: `,"name":` or `,`.
    before: Vec<Vec<u8>>,
}

impl Generator {
    pub fn new(settings: Settings) -> Generator {
        let before = settings.features.iter().map(|feature| match settings.format {
            Format::Json => format!(",\"{}\":", feature.name).into_bytes(),
            Format::Csv => b",".to_vec(),
        });
        let before = before.collect();
        Generator { random: Xoshiro256PlusPlus::seed_from_u64(settings.seed), settings, index: 0, before }
    }

    /// The first line of a file, with its line feed; JSON has none.
    pub fn header(&self) -> Vec<u8> {
        if self.settings.format == Format::Json {
            return Vec::new();
        }
        let names = self.settings.features.iter().map(|feature| feature.name.as_str());
        let names: Vec<&str> = COLUMNS.into_iter().chain(names).collect();
        format!("{}\n", names.join(",")).into_bytes()
    }

    /// How many were made.
    pub fn made(&self) -> u64 {
        self.index
    }

    /// Appends the next record, keyed by its user, with a line feed behind it that belongs to no record.
    pub fn put(&mut self, rows: &mut EncodedRows) {
        let Generator { settings, random, index, .. } = self;
        let (seed, place) = (settings.seed, *index);
        let user = below(random.next_u64(), settings.users);
        let of_user = mixed(seed ^ user.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let visit = (place * settings.visits + of_user % settings.records) / settings.records;
        let devices = 1 + below(of_user.rotate_left(32), settings.devices);
        let device = user * settings.devices + below(mixed(of_user ^ visit), devices);
        let mut time = settings.begin + (place as Millis * settings.span_ms) / settings.records as Millis;
        if settings.disorder_ms > 0 {
            time -= below(random.next_u64(), settings.disorder_ms as u64 + 1) as Millis;
        }
        self.index += 1;

        let start = rows.arena.len();
        let [ts, uid, of_device, of_visit, end]: [&[u8]; 5] = match self.settings.format {
            Format::Json => [b"{\"ts\":", b",\"uid\":\"", b"\",\"device\":\"", b"\",\"visit\":", b"}"],
            Format::Csv => [b"", b",", b",", b",", b""],
        };
        let arena = &mut rows.arena;
        arena.extend_from_slice(ts);
        put_number(time, arena);
        arena.extend_from_slice(uid);
        let key = arena.len();
        arena.push(b'u');
        put_number(user, arena);
        let key = key..arena.len();
        arena.extend_from_slice(of_device);
        arena.push(b'd');
        put_number(device, arena);
        arena.extend_from_slice(of_visit);
        put_number(visit, arena);
        for (feature, before) in self.settings.features.iter().zip(&self.before) {
            arena.extend_from_slice(before);
            feature.put(self.settings.format, &mut self.random, arena);
        }
        arena.extend_from_slice(end);
        let value = start..arena.len();
        arena.push(b'\n');
        rows.records.push(EncodedRecord {
            key: Some(places(key)),
            value: Some(places(value)),
            timestamp: Some(time),
            headers: 0..0,
        });
    }
}

fn places(range: Range<usize>) -> Range<u32> {
    range.start as u32..range.end as u32
}

fn put_number(number: impl itoa::Integer, arena: &mut Vec<u8>) {
    arena.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A number under `bound` out of 64 random bits.
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// SplitMix64's finish: neighbours become strangers.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn settings(records: u64) -> Settings {
        Settings {
            users: 20,
            devices: 3,
            visits: 4,
            features: Vec::new(),
            records,
            begin: 1_767_225_600_000,
            span_ms: 3_600_000,
            disorder_ms: 0,
            seed: 7,
            format: Format::Json,
        }
    }

    fn made(settings: Settings) -> (Generator, EncodedRows) {
        settings.check().unwrap();
        let (records, mut rows) = (settings.records, EncodedRows::default());
        let mut generator = Generator::new(settings);
        (0..records).for_each(|_| generator.put(&mut rows));
        (generator, rows)
    }

    fn json(rows: &EncodedRows) -> Vec<serde_json::Value> {
        rows.records.iter().map(|r| serde_json::from_slice(rows.bytes(r.value.as_ref().unwrap())).unwrap()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
        let (_, first) = made(settings(1_000));
        assert_eq!(first, made(settings(1_000)).1);
        assert_ne!(first, made(Settings { seed: 8, ..settings(1_000) }).1);
        // These bytes are part of the interface: what was measured on them must stay comparable.
        let line = first.bytes(first.records[999].value.as_ref().unwrap());
        assert_eq!(
            String::from_utf8_lossy(line),
            "{\"ts\":1767229196400,\"uid\":\"u1\",\"device\":\"d3\",\"visit\":4}"
        );
    }

    #[test]
    fn times_are_spread_over_the_span_in_order_and_disorder_has_a_bound() {
        let (_, rows) = made(settings(1_000));
        let times: Vec<_> = rows.records.iter().map(|record| record.timestamp.unwrap()).collect();
        assert!(times.is_sorted());
        assert_eq!((times[0], times[999]), (1_767_225_600_000, 1_767_225_600_000 + 3_596_400));
        let (_, moved) = made(Settings { disorder_ms: 5_000, ..settings(1_000) });
        let moved: Vec<_> = moved.records.iter().map(|record| record.timestamp.unwrap()).collect();
        assert!(!moved.is_sorted());
        assert!(times.iter().zip(&moved).all(|(time, moved)| (0..=5_000).contains(&(time - moved))));
    }

    #[test]
    fn a_visit_is_of_one_user_on_one_device_and_visits_follow_each_other() {
        let (_, rows) = made(settings(10_000));
        let mut device_of = BTreeMap::new();
        let mut devices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut last_visit = BTreeMap::new();
        for row in json(&rows) {
            let text = |column: &str| row[column].as_str().unwrap().to_owned();
            let (user, device, visit) = (text("uid"), text("device"), row["visit"].as_u64().unwrap());
            assert_eq!(device_of.entry((user.clone(), visit)).or_insert(device.clone()), &device);
            assert!(last_visit.insert(user.clone(), visit).is_none_or(|last| last <= visit && visit <= 4));
            devices.entry(user).or_default().insert(device);
        }
        assert_eq!(devices.len(), 20);
        assert!(devices.values().all(|devices| devices.len() <= 3));
        assert_eq!(devices.values().flatten().count(), devices.values().flatten().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn the_key_is_the_user_and_csv_has_the_same_values() {
        let features = || features::parse("f.csv", "name,type,length,cardinality\nn,numeric,1,10\n").unwrap();
        let (_, rows) = made(Settings { features: features(), ..settings(100) });
        let (generator, csv) = made(Settings { features: features(), format: Format::Csv, ..settings(100) });
        assert_eq!(generator.header(), b"ts,uid,device,visit,n\n");
        for (index, row) in json(&rows).iter().enumerate() {
            let bytes = |range: &Option<Range<u32>>| csv.bytes(range.as_ref().unwrap()).to_vec();
            let text = String::from_utf8(bytes(&csv.records[index].value)).unwrap();
            let wanted = format!("{},{},{},{},", row["ts"], row["uid"], row["device"], row["visit"]);
            assert!(text.starts_with(&wanted.replace('"', "")), "{text} is not {wanted}");
            assert_eq!(bytes(&csv.records[index].key), row["uid"].as_str().unwrap().as_bytes());
            let value: f64 = text.rsplit(',').next().unwrap().parse().unwrap();
            assert_eq!(Some(value), row["n"].as_f64());
        }
    }

    #[test]
    fn numbers_that_cannot_be_counted_are_refused() {
        assert!(Settings { users: 0, ..settings(1) }.check().is_err());
        assert!(Settings { records: u64::MAX / 2, ..settings(1) }.check().is_err());
        assert!(Settings { users: u64::MAX, ..settings(1) }.check().is_err());
    }
}
