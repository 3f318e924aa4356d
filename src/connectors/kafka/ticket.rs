//! What became of the records that one writer has given to a shared producer.
//!
//! Each record bears the address of its writer's ticket, and its delivery report is noted there. A writer has only so
//! much on its way: what one topic holds up fills nobody else's queue.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::native::Refused;

/// A writer gives no more while so much of it is on its way; where a round trip takes 5 ms, that is 400 MB/s.
const BYTES_MAX: usize = 2 << 20;
/// It goes on when so much is left, so that it is not woken for each record.
const BYTES_LOW: usize = BYTES_MAX / 2;
/// What librdkafka needs for a record beside its bytes.
const RECORD_BYTES: usize = 200;

/// The records of one writer that a shared producer has.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    state: Mutex<State>,
    /// Told when nothing is left, when there is room again, and of the first refusal.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// On their way.
    records: usize,
    bytes: usize,
    /// Of so many it was told what became of them.
    told: u64,
    refused: Option<Refused>,
    /// Some were taken back, because the producer broke.
    lost: bool,
}

/// How a write ended of which nothing is on its way any more.
#[derive(Debug)]
pub(super) enum Outcome {
    Delivered,
    /// This record at least was not written.
    Refused(Refused),
    /// The producer broke: some were not written.
    Lost,
}

impl Ticket {
    /// A record of so many bytes is given to the producer.
    pub fn give(&self, bytes: usize) {
        let mut state = self.lock();
        state.records += 1;
        state.bytes += bytes + RECORD_BYTES;
    }

    /// The producer did not take it.
    pub fn take_back(&self, bytes: usize, refused: Option<Refused>) {
        let mut state = self.lock();
        state.records -= 1;
        state.bytes -= bytes + RECORD_BYTES;
        if refused.is_some() && state.refused.is_none() {
            state.refused = refused;
        }
    }

    /// Waits until there is room, or no sense in more. False: nothing was told for so long.
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        if self.lock().bytes < BYTES_MAX {
            return true;
        }
        self.wait(patience, |state| state.bytes <= BYTES_LOW || state.is_broken())
    }

    /// Waits until nothing is on its way. False: nothing was told for so long.
    pub fn wait_for_all(&self, patience: Duration) -> bool {
        self.wait(patience, |state| state.records == 0)
    }

    fn wait(&self, patience: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        let mut told = state.told;
        let mut deadline = Instant::now() + patience;
        while !holds(&state) {
            if std::mem::replace(&mut told, state.told) != state.told {
                deadline = Instant::now() + patience;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn is_idle(&self) -> bool {
        self.lock().records == 0
    }

    /// Something was refused or lost: what follows it must not be sent before it.
    pub fn is_broken(&self) -> bool {
        self.lock().is_broken()
    }

    /// How what was given since the last call ended. Nothing may be on its way.
    pub fn outcome(&self) -> Outcome {
        let mut state = self.lock();
        match (state.refused.take(), std::mem::take(&mut state.lost)) {
            (_, true) => Outcome::Lost,
            (Some(refused), false) if refused.code == Code::Fatal => Outcome::Lost,
            (Some(refused), false) => Outcome::Refused(refused),
            (None, false) => Outcome::Delivered,
        }
    }

    /// What became of a record of so many bytes.
    fn tell(&self, bytes: usize, undelivered: Option<Undelivered>) {
        let mut state = self.lock();
        let before = state.bytes;
        state.records -= 1;
        state.bytes -= bytes + RECORD_BYTES;
        state.told += 1;
        let broke = undelivered.is_some() && !state.is_broken();
        match undelivered {
            None => {}
            Some(Undelivered::Lost) => state.lost = true,
            Some(Undelivered::Refused(refused)) => refused.note_in(&mut state.refused),
        }
        if broke || state.records == 0 || (before > BYTES_LOW && state.bytes <= BYTES_LOW) {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_broken(&self) -> bool {
        self.refused.is_some() || self.lost
    }
}

#[derive(Debug)]
enum Undelivered {
    Refused(Refused),
    Lost,
}

/// Called by librdkafka for each record of a shared producer: once, whatever became of it.
pub(super) unsafe extern "C" fn on_delivery(
    _: *mut rd::rd_kafka_t,
    message: *const rd::rd_kafka_message_t,
    _: *mut c_void,
) {
    // SAFETY: librdkafka passes a live message. Its opaque pointer is that of an `Arc`, which the producer keeps while
    // the record is on its way; here it is held over the moment in which this stops to be so.
    let (message, ticket) = unsafe {
        let message = &*message;
        let ticket = message._private.cast::<Ticket>().cast_const();
        if ticket.is_null() {
            return;
        }
        Arc::increment_strong_count(ticket);
        (message, Arc::from_raw(ticket))
    };
    let undelivered = match message.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => None,
        // SAFETY: the message lives.
        _ => Some(match unsafe { Refused::of(message) } {
            Some(refused) if refused.code != Code::Fatal => Undelivered::Refused(refused),
            _ => Undelivered::Lost,
        }),
    };
    ticket.tell(message.len + message.key_len, undelivered);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    fn refused() -> Refused {
        Refused { code: Code::MessageSizeTooLarge, topic: "t".into(), partition: 0, reason: "too large".into() }
    }

    #[test]
    fn a_writer_waits_for_room_until_half_of_it_is_delivered() {
        let ticket = Ticket::default();
        let record = BYTES_MAX / 4;
        (0..4).for_each(|_| ticket.give(record));
        assert!(!ticket.wait_for_room(MOMENT));
        ticket.tell(record, None);
        assert!(ticket.wait_for_room(MOMENT), "there is room for one more");
        ticket.give(record);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| ticket.wait_for_room(Duration::from_secs(60)));
            (0..3).for_each(|_| ticket.tell(record, None));
            assert!(waits.join().unwrap());
        });
        assert!(!ticket.is_idle());
    }

    #[test]
    fn what_was_refused_first_is_told_once_and_when_nothing_is_on_its_way() {
        let ticket = Ticket::default();
        (0..3).for_each(|_| ticket.give(10));
        ticket.tell(10, Some(Undelivered::Refused(refused())));
        assert!(ticket.is_broken() && !ticket.wait_for_all(MOMENT));
        ticket.tell(10, Some(Undelivered::Refused(Refused { code: Code::UnknownTopic, ..refused() })));
        ticket.tell(10, None);
        assert!(ticket.wait_for_all(MOMENT));
        let Outcome::Refused(first) = ticket.outcome() else { panic!("it was refused") };
        assert_eq!(first.code, Code::MessageSizeTooLarge);
        assert!(matches!(ticket.outcome(), Outcome::Delivered));
    }

    #[test]
    fn what_was_lost_with_the_producer_is_refused_by_nobody() {
        let ticket = Ticket::default();
        (0..2).for_each(|_| ticket.give(10));
        ticket.tell(10, Some(Undelivered::Refused(refused())));
        ticket.tell(10, Some(Undelivered::Lost));
        assert!(matches!(ticket.outcome(), Outcome::Lost));
    }

    #[test]
    fn who_waits_goes_on_waiting_while_something_is_delivered() {
        let ticket = Ticket::default();
        (0..40).for_each(|_| ticket.give(10));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| ticket.wait_for_all(Duration::from_secs(1)));
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(40));
                ticket.tell(10, None);
            }
            assert!(waits.join().unwrap(), "each told in time");
        });
    }
}
