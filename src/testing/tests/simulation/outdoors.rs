//! Sinks outside of the journal's transaction; and one inside, which says what it has.

use super::*;
use crate::connectors::{Tail, Tails};

/// Partitions of a sink whose tails are asked for.
const TAILED: i32 = 3;

/// A sink that commits with the journal, and says what stands at the ends of its partitions.
#[derive(Debug, Clone, Default)]
pub(super) struct Tailed(Arc<Mutex<Option<(Weather, MemoryJournal)>>>);

impl Tailed {
    pub(super) fn begin(&self, weather: &Weather, journal: &MemoryJournal) {
        *self.0.lock().unwrap() = Some((weather.clone(), journal.clone()));
    }
}

impl Sink for Tailed {
    fn connector(&self) -> &'static str {
        "tailed"
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transaction
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        unreachable!("its rows commit with the journal")
    }

    fn tails(&self) -> Result<Tails, Failure> {
        let (weather, journal) = self.0.lock().unwrap().clone().expect("a run has begun");
        let mut tails = BTreeMap::new();
        for (offset, row) in written(&journal.output(0)).into_iter().enumerate() {
            // Whichever that is, it is the same each time.
            let partition = row.value.iter().flatten().map(|byte| i32::from(*byte)).sum::<i32>() % TAILED;
            let text = |name: Vec<u8>| String::from_utf8(name).unwrap();
            let headers = row.headers.into_iter().map(|(name, value)| (text(name), value)).collect();
            let timestamp = row.timestamp;
            tails.insert(partition, Tail { partition, offset: offset as i64, timestamp, append_time: false, headers });
        }
        let place = if tails.is_empty() { "starts before an empty sink" } else { "starts behind what the sink has" };
        weather.saw(place, 1);
        Ok(Tails { records: tails.into_values().collect(), emptied: Vec::new() })
    }
}

/// A sink outside of the journal's transaction that fails and dawdles. What it wrote stays, also where it
/// said that it could not.
#[derive(Debug, Clone)]
pub(super) struct Outdoors {
    delivery: Delivery,
    weather: Arc<Mutex<Weather>>,
    pub(super) written: Arc<Mutex<Outside>>,
}

#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) progress: Option<SinkProgress>,
    /// In the order of writing.
    pub(super) epochs: Vec<(Epoch, Vec<Written>)>,
    writer: u64,
    /// Epochs that a new writer was given although they were there.
    pub(super) again: Vec<Epoch>,
}

impl Outdoors {
    pub(super) fn new(delivery: Delivery) -> Outdoors {
        Outdoors { delivery, weather: Arc::new(Mutex::new(Weather::of(0))), written: Arc::default() }
    }

    pub(super) fn begin(&self, weather: &Weather) {
        *self.weather.lock().unwrap() = weather.apart();
        let mut written = self.written.lock().unwrap();
        *written = Outside { writer: written.writer + 1, ..Outside::default() };
    }
}

impl Sink for Outdoors {
    fn connector(&self) -> &'static str {
        "outdoors"
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        let mut written = self.written.lock().unwrap();
        written.writer += 1;
        let had = written.progress.as_ref().map_or(0, |progress| progress.epoch);
        Ok(Box::new(OutdoorsWriter { of: self.clone(), writer: written.writer, had }))
    }
}

pub(super) struct OutdoorsWriter {
    of: Outdoors,
    writer: u64,
    /// What was there when it began.
    had: Epoch,
}

impl Writer for OutdoorsWriter {
    fn progress(&self) -> Option<SinkProgress> {
        self.of.written.lock().unwrap().progress.clone()
    }

    fn write(&mut self, lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        let weather = self.of.weather.lock().unwrap().clone();
        let (fails_before, fails_after) = (weather.below(30) == 0, weather.below(30) == 0);
        if weather.below(10) == 0 {
            std::thread::sleep(Duration::from_millis(weather.below(4)));
        }
        let mut written = self.of.written.lock().unwrap();
        if written.writer != self.writer {
            return Err(Failure::outside("test.dead", "this process is dead").no_retry());
        }
        weather.saw("failed writes", usize::from(fails_before || fails_after));
        if fails_before {
            return Err(away());
        }
        for given in epochs {
            let epoch = &given.epoch;
            let remembers = self.of.delivery == Delivery::Remembers;
            let known = written.progress.as_ref().is_some_and(|progress| progress.epoch >= *epoch);
            if *epoch <= self.had {
                written.again.push(*epoch);
            }
            if remembers && known {
                continue;
            }
            let rows: Vec<EncodedRows> = given.runs().cloned().collect();
            written.epochs.push((*epoch, self::written(&rows)));
            if remembers {
                written.progress = Some(SinkProgress { lineage: lineage.to_owned(), epoch: *epoch });
            }
        }
        if fails_after { Err(away()) } else { Ok(()) }
    }
}
