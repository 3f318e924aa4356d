//! Is the sink what the source gives? Both sides come to a number of rows and a hash of them all.
//!
//! The hash is the sum of the rows' own, so the order between partitions does not count; a row lost, doubled or changed
//! does. `check source|sink WORK BROKERS TOPIC` prints the two numbers.

use std::collections::HashMap;

use crate::Result;
use crate::client::{Consumer, Record, partitions};
use crate::frames::{PREFIX, Rating, WINDOW_MS, Window};

/// All rows, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    pub hash: u64,
}

impl Digest {
    fn add(&mut self, parts: &[&[u8]]) {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for part in parts {
            let words = part.len().to_le_bytes();
            for byte in words.iter().chain(*part) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        // Sums of plain FNV hashes collide too easily: its low bits depend on the low bits only.
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hash ^ (hash >> 33));
    }

    /// As `check` prints it.
    pub fn parse(text: &str) -> Result<Digest> {
        let (rows, hash) = text.trim().split_once(' ').ok_or("a check printed no digest")?;
        Ok(Digest { rows: rows.parse()?, hash: hash.parse()? })
    }
}

pub fn main(arguments: &[&str]) -> Result<()> {
    let [side, work, brokers, topic] = arguments else { return Err("check source|sink WORK BROKERS TOPIC".into()) };
    let count = partitions(brokers, topic)?.ok_or_else(|| format!("there is no topic `{topic}`"))?;
    let mut consumer = Consumer::open(brokers, topic, count, -2)?;
    let mut digest = Digest::default();
    let mut read = |each: &mut dyn FnMut(Record<'_>) -> Result<()>| consumer.read_all(count, each);
    match (*side, *work) {
        ("source", "filter") => read(&mut |record| {
            if Rating::read(record.value)?.rating >= 3 {
                add_as_it_came(&mut digest, &record);
            }
            Ok(())
        })?,
        ("sink", "filter") => read(&mut |record| {
            add_as_it_came(&mut digest, &record);
            Ok(())
        })?,
        ("source", "windows") => {
            let mut windows: HashMap<(i64, Vec<u8>), (i64, i64)> = HashMap::new();
            read(&mut |record| {
                let rating = Rating::read(record.value)?;
                let start = record.timestamp - record.timestamp.rem_euclid(WINDOW_MS);
                let totals = windows.entry((start, rating.brand.to_vec())).or_default();
                *totals = (totals.0 + 1, totals.1 + rating.rating);
                Ok(())
            })?;
            for ((start, brand), (count, sum)) in &windows {
                let window = Window { start: *start, brand, count: *count, mean: *sum as f64 / *count as f64 };
                if window.passes() {
                    add_window(&mut digest, &window, start + WINDOW_MS - 1);
                }
            }
        }
        ("sink", "windows") => read(&mut |record| {
            add_window(&mut digest, &Window::read(record.value)?, record.timestamp);
            Ok(())
        })?,
        ("source", "json") => read(&mut |record| {
            let row: serde_json::Value = serde_json::from_slice(record.value)?;
            if row["rating"].as_i64().ok_or("a rating is no number")? >= 3 {
                add_columns(&mut digest, &row, &record);
            }
            Ok(())
        })?,
        ("sink", "json") => read(&mut |record| {
            let row: serde_json::Value = serde_json::from_slice(record.value)?;
            if row.as_object().is_none_or(|row| row.len() != 3) {
                return Err(format!("not three columns: {row}").into());
            }
            add_columns(&mut digest, &row, &record);
            Ok(())
        })?,
        ("source", "frames") => {
            let mut seconds: HashMap<i64, i64> = HashMap::new();
            read(&mut |record| {
                let row: serde_json::Value = serde_json::from_slice(record.value)?;
                let time = row["ts"].as_f64().ok_or("a time is no number")?;
                *seconds.entry(time.floor() as i64).or_default() += 1;
                Ok(())
            })?;
            seconds.iter().for_each(|(second, count)| add_second(&mut digest, *second, *count));
        }
        ("sink", "frames") => read(&mut |record| {
            let row: serde_json::Value = serde_json::from_slice(record.value)?;
            let count = row["frames"].as_i64().ok_or("a count is no number")?;
            // A row's timestamp is the last millisecond of its window.
            add_second(&mut digest, record.timestamp.div_euclid(1_000), count);
            Ok(())
        })?,
        (side, work) => return Err(format!("nothing is known of the {side} of `{work}`").into()),
    }
    println!("{} {}", digest.rows, digest.hash);
    Ok(())
}

/// Key, value and time; the id of the value's schema may be another.
fn add_as_it_came(digest: &mut Digest, record: &Record<'_>) {
    let (key, value) = (record.key.unwrap_or(b"\0none"), record.value.get(PREFIX..).unwrap_or_default());
    digest.add(&[key, value, &record.timestamp.to_le_bytes()]);
}

fn add_window(digest: &mut Digest, window: &Window<'_>, timestamp: i64) {
    let numbers = [window.start, window.count, window.mean.to_bits() as i64, timestamp];
    digest.add(&[window.brand, &numbers.map(i64::to_le_bytes).concat()]);
}

/// The columns that `json.yaml` selects.
fn add_columns(digest: &mut Digest, row: &serde_json::Value, record: &Record<'_>) {
    let columns = ["brand", "rating", "viewer"].map(|column| row[column].to_string());
    let [brand, rating, viewer] = columns.each_ref().map(String::as_bytes);
    digest.add(&[brand, rating, viewer, &record.timestamp.to_le_bytes()]);
}

fn add_second(digest: &mut Digest, second: i64, count: i64) {
    digest.add(&[&second.to_le_bytes(), &count.to_le_bytes()]);
}
