//! What the sinks must hold, computed row by row, without a line of the engine's.

use super::*;

/// What every sink must hold, in order.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) rows: Vec<Naive>,
    pub(super) late: Vec<Naive>,
    pub(super) by_time: Vec<Naive>,
    pub(super) too_late: Vec<Naive>,
    pub(super) windows: Vec<Naive>,
    pub(super) table: Vec<Naive>,
    pub(super) spaced: Vec<Naive>,
    pub(super) whole: Vec<Naive>,
    pub(super) dead: Vec<Option<Vec<u8>>>,
}

/// A row of output: what JSON has it as.
pub(super) type Naive = Vec<(&'static str, Value)>;

impl Oracle {
    pub(super) fn of(rows: &[Item], epochs: &[EpochRecord]) -> Oracle {
        let mut log: BTreeMap<Partition, Vec<&MemoryRecord>> = BTreeMap::new();
        for row in rows {
            let Item::Row { partition, record, .. } = row else { continue };
            log.entry(*partition).or_default().push(record);
        }
        let mut oracle = Oracle::default();
        let mut read: BTreeMap<Partition, i64> = BTreeMap::new();
        let mut open: BTreeMap<(Millis, String), (i64, i64, i64)> = BTreeMap::new();
        let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        // Of the tables that are written now and then: what has changed since, and the counts of windows.
        let mut unwritten = std::collections::BTreeSet::new();
        let mut coming: BTreeMap<(Millis, String), i64> = BTreeMap::new();
        let mut has_changed = false;
        // What waits for its time: time, partition, offset.
        let mut waiting: BTreeMap<(Millis, Partition, i64), Naive> = BTreeMap::new();
        let (mut in_force, mut clock, mut epoch) = (Watermark::NONE, Millis::MIN, 0);
        for record in epochs {
            assert_eq!(record.epoch, epoch + 1, "epochs are consecutive");
            assert!(record.watermark >= in_force && record.clock >= clock, "time goes back in epoch {}", record.epoch);
            let is_due = |every: Millis| {
                let passed = clock != Millis::MIN && clock.div_euclid(every) < record.clock.div_euclid(every);
                (passed || record.ended) && record.continues.is_none()
            };
            let (spaced_due, whole_due) = (is_due(SPACED_MS), is_due(WHOLE_MS));
            let shown = |c: i64| c % 3 != 2;
            let mut counted: BTreeMap<(Millis, String), i64> = BTreeMap::new();
            (epoch, clock) = (record.epoch, record.clock);
            let mut changed = std::collections::BTreeSet::new();
            for (name, range) in &record.partitions["s"] {
                let partition = name.number;
                let at = read.entry(partition).or_default();
                assert_eq!(range.from.as_offset(), Some(*at), "partition {partition} goes on where it was");
                *at = range.to.as_offset().unwrap();
                let records = &log.get(&partition).map_or(&[][..], Vec::as_slice);
                for offset in range.from.as_offset().unwrap()..*at {
                    let record = records[offset as usize];
                    let Some((time, key, x)) = decoded(record) else {
                        oracle.dead.push(record.value.clone());
                        continue;
                    };
                    if x % 7 == 0 {
                        continue;
                    }
                    if x >= 900 {
                        oracle.dead.push(record.value.clone());
                        continue;
                    }
                    let row = || vec![("k", key.clone().into()), ("x", x.into())];
                    oracle.rows.push(row());
                    let total = totals.entry(key.clone()).or_default();
                    *total = (total.0 + 1, total.1 + x);
                    changed.insert(key.clone());
                    if in_force.time().is_some_and(|watermark| time + SORT_MS < watermark) {
                        let mut late = row();
                        late.push(("_reason", "rows of its time had left".into()));
                        oracle.too_late.push(late);
                    } else {
                        waiting.insert((time, partition, offset), row());
                    }
                    let end = time.div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS;
                    if in_force.time().is_some_and(|watermark| end + GRACE_MS <= watermark) {
                        let mut late = row();
                        late.push(("_reason", "its window had closed".into()));
                        oracle.late.push(late);
                        continue;
                    }
                    *counted.entry((end, key.clone())).or_default() += 1;
                    let window = open.entry((end, key.clone())).or_insert((0, 0, i64::MAX));
                    *window = (window.0 + 1, window.1 + x, window.2.min(x));
                }
            }
            for key in changed {
                let (c, total) = totals[&key];
                unwritten.insert(key.clone());
                oracle.table.push(vec![("k", key.into()), ("c", c.into()), ("total", total.into())]);
            }
            if spaced_due {
                for key in std::mem::take(&mut unwritten) {
                    let (c, total) = totals[&key];
                    oracle.spaced.push(vec![("k", key.into()), ("c", c.into()), ("total", total.into())]);
                }
            }
            for (window, more) in counted {
                let c = coming.entry(window).or_default();
                // What is held back before and behind is no change that anybody sees.
                has_changed |= shown(*c + more) || (*c > 0 && shown(*c));
                *c += more;
            }
            in_force = record.watermark;
            if whole_due && std::mem::take(&mut has_changed) {
                for ((end, key), c) in coming.iter().filter(|(_, c)| shown(**c)) {
                    let (end, key) = (*end, key.clone());
                    oracle.whole.push(vec![("window_end", end.into()), ("k", key.into()), ("c", (*c).into())]);
                }
            }
            if !has_changed {
                coming.retain(|(end, _), _| in_force.time().is_none_or(|watermark| end + GRACE_MS > watermark));
            }
            while let Some(entry) = waiting.first_entry() {
                let (time, ..) = *entry.key();
                if in_force.time().is_none_or(|watermark| time + SORT_MS >= watermark) {
                    break;
                }
                oracle.by_time.push(entry.remove());
            }
            while let Some(entry) = open.first_entry() {
                let (end, key) = entry.key().clone();
                if in_force.time().is_none_or(|watermark| end + GRACE_MS > watermark) {
                    break;
                }
                let (c, total, least) = entry.remove();
                if c > 1 {
                    oracle.windows.push(vec![
                        ("window_end", end.into()),
                        ("k", key.into()),
                        ("c", c.into()),
                        ("total", total.into()),
                        ("least", least.into()),
                    ]);
                }
            }
        }
        assert!(open.is_empty() && waiting.is_empty(), "the end closes every window, and lets every row out");
        for (partition, records) in &log {
            let read = read.get(partition).copied().unwrap_or(0);
            assert_eq!(read, records.len() as i64, "partition {partition} was read to its end");
        }
        oracle
    }
}

/// Event time, key and number of a record that is one.
pub(super) fn decoded(record: &MemoryRecord) -> Option<(Millis, String, i64)> {
    let value: Value = serde_json::from_slice(record.value.as_ref()?).ok()?;
    let time = record.timestamp.filter(|time| *time < BEGINNING + FAR)?;
    Some((time, value.get("k")?.as_str()?.to_owned(), value.get("x")?.as_i64()?))
}
