//! Sinks outside of the journal's transaction.

use super::*;

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
