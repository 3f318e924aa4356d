//! Timestamps that a sink's topic takes.
//!
//! A broker refuses records whose time is further ahead of its clock than the topic's `message.timestamp.after.max.ms` (an
//! hour). Such a record may well be a result: the last window of a day leaves when its sources have ended, hours before the
//! day has. Neither may it be lost nor may it end the run, so it is written with the latest time that the topic takes, and
//! counted; its columns say what its time is.
//!
//! I11: the latest time follows from the epoch's clock, which the journal has, so what is made again has the same times. Only
//! while the machine's clock is behind the epoch's, which never goes back (I3), it follows from that one, as the broker's does.
//!
//! A restart by watermark reads from these times what is out. There such a record ends the run before it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::targets::each_sink;
use crate::data::EncodedRows;
use crate::plan::{Plan, RestartPlan, SinkPlan};
use crate::report::Failure;
use crate::time::{Clock, Millis, duration};

/// The broker's clock may be so far behind ours; at most half of what its topic takes.
const CLOCKS_APART_MS: Millis = 5 * 60_000;

/// What the topics of a plan's sinks take.
pub struct Timestamps {
    clock: Arc<dyn Clock>,
    sinks: Vec<Taken>,
}

struct Taken {
    name: String,
    /// How far ahead of the clock a time may be; `None`: as far as it likes.
    ahead_ms_max: Option<Millis>,
    /// What is written says where a restart goes on, so no other time may stand there.
    exact: bool,
    /// That some times are others has been said.
    told: bool,
}

impl Timestamps {
    /// Asks the sinks.
    ///
    /// # Errors
    /// Whatever breaks while servers are asked.
    pub fn ask(plan: &Plan, clock: Arc<dyn Clock>) -> Result<Timestamps, Failure> {
        let exact = match plan.restart {
            RestartPlan::Watermark { sink, .. } => Some(sink),
            RestartPlan::Journal | RestartPlan::Offsets { .. } => None,
        };
        let asked = each_sink(plan, |sink| sink.sink.ahead_ms_max())?;
        let taken = |((index, sink), ahead_ms_max): ((usize, &SinkPlan), Option<Millis>)| Taken {
            name: sink.name.clone(),
            ahead_ms_max,
            exact: exact == Some(index),
            told: false,
        };
        Ok(Timestamps { clock, sinks: plan.sinks.iter().enumerate().zip(asked).map(taken).collect() })
    }

    /// Brings down the times of an epoch's rows that are too far ahead; gives how many. `clock` is the epoch's.
    ///
    /// # Errors
    /// `sink.time_ahead`: such a time may not be another.
    pub fn fit(&mut self, clock: Millis, rows: &mut BTreeMap<usize, Vec<EncodedRows>>) -> Result<u64, Failure> {
        let clock = clock.min(self.clock.now());
        let mut count = 0;
        for (sink, runs) in rows {
            let Some(taken) = self.sinks.get_mut(*sink) else { continue };
            let Some(ahead_ms_max) = taken.ahead_ms_max else { continue };
            let latest = clock.saturating_add(ahead_ms_max - CLOCKS_APART_MS.min(ahead_ms_max / 2));
            for timestamp in runs.iter_mut().flat_map(|run| &mut run.records).flat_map(|record| &mut record.timestamp) {
                if *timestamp > latest {
                    taken.note(*timestamp, clock)?;
                    *timestamp = latest;
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}

impl Taken {
    fn note(&mut self, timestamp: Millis, clock: Millis) -> Result<(), Failure> {
        let ahead = duration::format(timestamp.saturating_sub(clock));
        if self.exact {
            let title = format!(
                "`{}`: the time {timestamp} of a row is {ahead} ahead of the clock, and its topic takes none that far ahead",
                self.name
            );
            return Err(Failure::user("sink.time_ahead", title).hint(
                "`restart: watermark` reads from these times what is out, so no other can be written: raise `message.timestamp.after.max.ms` of the topic, and start again; nothing is lost",
            ));
        }
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                sink = self.name,
                "`{}`: a row's time is {ahead} ahead of the clock: it, and others like it, are written with the latest timestamp \
                 that the topic takes (`message.timestamp.after.max.ms`)",
                self.name
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::EncodedRecord;
    use crate::time::ManualClock;

    const HOUR: Millis = 3_600_000;
    const NOW: Millis = 1_000 * HOUR;

    fn timestamps(now: Millis, sinks: &[(Option<Millis>, bool)]) -> Timestamps {
        let taken = |(ahead_ms_max, exact): &(Option<Millis>, bool)| Taken {
            name: "out".into(),
            ahead_ms_max: *ahead_ms_max,
            exact: *exact,
            told: false,
        };
        Timestamps { clock: ManualClock::at(now), sinks: sinks.iter().map(taken).collect() }
    }

    fn rows(times: &[Option<Millis>]) -> EncodedRows {
        let record =
            |timestamp: &Option<Millis>| EncodedRecord { key: None, value: None, timestamp: *timestamp, headers: 0..0 };
        EncodedRows { records: times.iter().map(record).collect(), ..EncodedRows::default() }
    }

    /// The times as they are written when the epoch's clock is `clock`.
    fn fitted(timestamps: &mut Timestamps, clock: Millis, times: &[Millis]) -> Result<Vec<Millis>, Failure> {
        let all: Vec<_> = times.iter().map(|time| Some(*time)).collect();
        let mut runs = BTreeMap::from([(0, vec![rows(&all)])]);
        timestamps.fit(clock, &mut runs)?;
        Ok(runs[&0][0].records.iter().filter_map(|record| record.timestamp).collect())
    }

    #[test]
    fn a_time_too_far_ahead_becomes_the_latest_that_the_topic_takes_whenever_it_is_written() {
        let latest = NOW + HOUR - CLOCKS_APART_MS;
        let times = [0, NOW, latest, latest + 1, NOW + 24 * HOUR];
        for later in [0, 1, HOUR, 999 * HOUR] {
            let found = fitted(&mut timestamps(NOW + later, &[(Some(HOUR), false)]), NOW, &times).unwrap();
            assert_eq!(found, [0, NOW, latest, latest, latest], "written {later} ms after the epoch's clock");
        }
    }

    /// The epoch's clock stays when the machine's is set back, and the broker's is set back with it.
    #[test]
    fn where_the_clock_was_set_back_the_machines_decides() {
        let found =
            fitted(&mut timestamps(NOW - 5 * HOUR, &[(Some(HOUR), false)]), NOW, &[NOW - 5 * HOUR, NOW]).unwrap();
        assert_eq!(found, [NOW - 5 * HOUR, NOW - 4 * HOUR - CLOCKS_APART_MS]);
    }

    #[test]
    fn only_what_is_ahead_is_counted_and_only_where_a_topic_asks_for_it() {
        let mut timestamps = timestamps(NOW, &[(Some(HOUR), false), (None, false), (Some(Millis::MAX), false)]);
        let run = || vec![rows(&[Some(NOW), None]), rows(&[Some(NOW + 2 * HOUR), Some(Millis::MAX)])];
        let mut runs = BTreeMap::from([(0, run()), (1, run()), (2, run())]);
        assert_eq!(timestamps.fit(NOW, &mut runs).unwrap(), 2);
        assert_eq!((&runs[&1], &runs[&2]), (&run(), &run()));
        assert_eq!(runs[&0][0], run()[0], "a record without a time gets that of writing");
    }

    #[test]
    fn a_topic_that_takes_nearly_nothing_ahead_takes_what_is_now() {
        assert_eq!(fitted(&mut timestamps(NOW, &[(Some(0), false)]), NOW, &[NOW, NOW + 9]).unwrap(), [NOW, NOW]);
    }

    #[test]
    fn a_time_that_a_restart_goes_by_is_written_as_it_is_or_not_at_all() {
        let mut timestamps = timestamps(NOW, &[(Some(HOUR), true)]);
        assert_eq!(fitted(&mut timestamps, NOW, &[NOW]).unwrap(), [NOW]);
        assert_eq!(fitted(&mut timestamps, NOW, &[NOW + HOUR]).unwrap_err().code, "sink.time_ahead");
    }
}
