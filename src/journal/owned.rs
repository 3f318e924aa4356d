//! A log and who writes it: appends that end for certain, and make way for a newer owner.
//!
//! I11: after an unknown outcome the log is taken over again and read; what is there is not sent
//! twice. I15: a fenced instance reads who owns the log now, and stops if that is not itself; only
//! what is read after taking over decides.

use std::time::Duration;

use super::{Appended, Journal, Owner, Record, SinkRows, gone, host_name};
use crate::faults;
use crate::report::Failure;

/// Between two attempts to commit the owner record.
const OWN_PAUSE: Duration = Duration::from_millis(500);
const REACQUIRE_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So often may two starters fence each other before one gives up.
const FENCED_MAX: u32 = 5;

/// A log that was taken over.
pub struct Owned {
    journal: Box<dyn Journal>,
    owner: Owner,
    /// Nobody knows how the last append ended, or somebody took over: it is to be taken over again.
    lost: bool,
}

impl Owned {
    /// Takes a log over. `records` is what was read when it was acquired; afterwards, what is in it before our owner record.
    ///
    /// # Errors
    /// `refused.taken_over` if a newer owner came meanwhile; otherwise what breaks while the log is asked.
    pub fn take_over(mut journal: Box<dyn Journal>, records: &mut Vec<Record>) -> Result<Owned, Failure> {
        let owner = own(journal.as_mut(), records)?;
        Ok(Owned { journal, owner, lost: false })
    }

    /// A log that was taken over by this owner already.
    #[cfg(test)]
    pub fn of(journal: Box<dyn Journal>, owner: Owner) -> Owned {
        Owned { journal, owner, lost: false }
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The log itself, for what needs no owner.
    pub fn journal(&mut self) -> &mut dyn Journal {
        self.journal.as_mut()
    }

    /// Appends, for as long as that can help. `is_there` tells from what is in the log whether this very append is.
    ///
    /// # Errors
    /// A newer owner, or what trying again does not mend.
    pub fn append(
        &mut self,
        records: &[Record],
        outputs: &[SinkRows],
        is_there: &dyn Fn(&Record) -> bool,
    ) -> Result<(), Failure> {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.attempt(records, outputs, is_there) {
                Err(failure) if failure.retry => tracing::warn!("{failure}; trying again"),
                done => return done,
            }
            if self.lost {
                // At random, so that two do not fence each other for ever.
                std::thread::sleep(REACQUIRE_PAUSE + at_random());
            } else {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Appends once. After an error for which a retry helps the same call may be made again.
    ///
    /// # Errors
    /// As [`Owned::append`].
    pub fn attempt(
        &mut self,
        records: &[Record],
        outputs: &[SinkRows],
        is_there: &dyn Fn(&Record) -> bool,
    ) -> Result<(), Failure> {
        if self.lost && self.own_again()?.iter().any(is_there) {
            return Ok(());
        }
        let failure = match self.journal.append(records, outputs)? {
            Appended::Committed => return Ok(()),
            Appended::Aborted(failure) => return Err(failure),
            Appended::Unknown(failure) => {
                self.lost = true;
                failure
            }
            Appended::Fenced(failure) => {
                self.lost = true;
                // Look before taking over: a newer owner must not be fenced by us. It may not have said its name yet.
                std::thread::sleep(self.journal.takeover_time());
                let records = self.journal.read()?;
                self.refuse_newer(&records)?;
                failure
            }
        };
        if self.own_again()?.iter().any(is_there) { Ok(()) } else { Err(failure) }
    }

    /// Becomes the writer again; gives what was read after taking over.
    fn own_again(&mut self) -> Result<Vec<Record>, Failure> {
        let records = self.journal.acquire()?;
        self.refuse_newer(&records)?;
        self.owner.incarnation += 1;
        match self.journal.append(&[Record::Owner(self.owner.clone())], &[])? {
            Appended::Committed => {
                self.lost = false;
                Ok(records)
            }
            Appended::Aborted(failure) | Appended::Unknown(failure) => Err(failure),
            Appended::Fenced(failure) => {
                let records = self.journal.read()?;
                self.refuse_newer(&records)?;
                Err(failure)
            }
        }
    }

    fn refuse_newer(&self, records: &[Record]) -> Result<(), Failure> {
        match newest_owner(records) {
            Some(owner) if owner.instance == self.owner.instance => Ok(()),
            Some(owner) => Err(owner.took_over()),
            // Ours was there, and trimming keeps it.
            None => Err(gone(&self.journal.describe())),
        }
    }
}

/// I15: commits an owner record with a higher incarnation; whoever is fenced meanwhile decides by
/// what it reads after taking over.
fn own(journal: &mut dyn Journal, records: &mut Vec<Record>) -> Result<Owner, Failure> {
    let instance = uuid::Uuid::new_v4().to_string();
    let mut fenced = 0;
    loop {
        let incarnation = newest_owner(records).map_or(0, |owner| owner.incarnation) + 1;
        let owner = Owner { incarnation, host: host_name(), pid: std::process::id(), instance: instance.clone() };
        faults::point("owner.append");
        match journal.append(&[Record::Owner(owner.clone())], &[])? {
            Appended::Committed => {
                faults::point("owner.appended");
                return Ok(owner);
            }
            Appended::Aborted(failure) if failure.retry => {
                tracing::warn!("{failure}; trying again");
                std::thread::sleep(OWN_PAUSE);
            }
            Appended::Aborted(failure) => return Err(failure),
            Appended::Unknown(_) => *records = journal.acquire()?,
            Appended::Fenced(failure) => {
                fenced += 1;
                let now = journal.read()?;
                match newest_owner(&now) {
                    Some(newer) if newer.incarnation >= incarnation && newer.instance != instance => {
                        return Err(newer.took_over());
                    }
                    _ if fenced > FENCED_MAX => return Err(failure),
                    _ => {}
                }
                std::thread::sleep(Duration::from_millis(50) + 4 * at_random());
                *records = journal.acquire()?;
            }
        }
    }
}

fn newest_owner(records: &[Record]) -> Option<&Owner> {
    records.iter().rev().find_map(|record| if let Record::Owner(owner) = record { Some(owner) } else { None })
}

/// Up to a quarter of a second.
fn at_random() -> Duration {
    Duration::from_millis(u64::from(uuid::Uuid::new_v4().as_bytes()[0]))
}
