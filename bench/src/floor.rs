//! The floors: what a work costs when it is written by hand, for this work only.
//!
//! Batch consume, fields read from the bytes, produce with timestamps; one thread, nothing else. No journal, no schema,
//! no error that is not the end. `floor WORK BROKERS SOURCE SINK`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Consumer, Producer, Record, partitions};
use crate::frames::{PREFIX, Rating, WINDOW_MS, Window};

/// As much input as `runner` takes into one epoch.
const EPOCH_BYTES: usize = 8 << 20;
const EPOCH: Duration = Duration::from_millis(100);

pub fn main(arguments: &[&str]) -> Result<()> {
    let [work, brokers, source, sink] = arguments else { return Err("floor WORK BROKERS SOURCE SINK".into()) };
    let count = partitions(brokers, source)?.ok_or_else(|| format!("there is no topic `{source}`"))?;
    let mut consumer = Consumer::open(brokers, source, count, -2)?;
    match *work {
        "filter" => filter(&mut consumer, count, &Producer::open(brokers, sink, None, &[])?),
        "filter-transactions" => {
            let producer = Producer::open(brokers, sink, Some("bench-floor"), &[])?;
            filter_in_transactions(&mut consumer, count, &producer)
        }
        "windows" => windows(&mut consumer, count, &Producer::open(brokers, sink, None, &[])?),
        other => Err(format!("there is no floor for `{other}`").into()),
    }
}

/// `rating >= 3`, the value as it came.
fn pass(record: &Record<'_>, producer: &Producer) -> Result<()> {
    match Rating::read(record.value)?.rating >= 3 {
        true => producer.send(record.key, record.value, record.timestamp),
        false => Ok(()),
    }
}

fn filter(consumer: &mut Consumer, count: i32, producer: &Producer) -> Result<()> {
    consumer.read_all(count, |record| pass(&record, producer))?;
    producer.flush()
}

fn filter_in_transactions(consumer: &mut Consumer, count: i32, producer: &Producer) -> Result<()> {
    let (mut bytes, mut begun) = (0, Instant::now());
    producer.begin()?;
    consumer.read_all(count, |record| {
        bytes += record.value.len();
        pass(&record, producer)?;
        if bytes < EPOCH_BYTES && begun.elapsed() < EPOCH {
            return Ok(());
        }
        producer.commit()?;
        (bytes, begun) = (0, Instant::now());
        producer.begin()
    })?;
    producer.commit()
}

/// Count and mean by brand in windows of five seconds, written when everything was read.
fn windows(consumer: &mut Consumer, count: i32, producer: &Producer) -> Result<()> {
    type Brands = HashMap<Box<[u8]>, (i64, i64), BuildHasherDefault<Fnv>>;
    let mut windows: HashMap<i64, Brands, BuildHasherDefault<Fnv>> = HashMap::default();
    consumer.read_all(count, |record| {
        let rating = Rating::read(record.value)?;
        let brands = windows.entry(record.timestamp - record.timestamp.rem_euclid(WINDOW_MS)).or_default();
        match brands.get_mut(rating.brand) {
            Some(totals) => *totals = (totals.0 + 1, totals.1 + rating.rating),
            None => drop(brands.insert(rating.brand.into(), (1, rating.rating))),
        }
        Ok(())
    })?;
    let mut value = Vec::new();
    for (start, brands) in windows {
        for (brand, (count, sum)) in brands {
            let window = Window { start, brand: &brand, count, mean: sum as f64 / count as f64 };
            if window.passes() {
                value.clear();
                value.extend_from_slice(&[0; PREFIX]);
                window.write(&mut value);
                producer.send(None, &value, start + WINDOW_MS - 1)?;
            }
        }
    }
    producer.flush()
}

/// FNV-1a: short keys.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Lengths and times: one step, spread over the upper bits that the map looks at.
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }
}
