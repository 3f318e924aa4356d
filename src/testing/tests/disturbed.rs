//! I10, I11, I15: a journal whose appends end as they do in the world.

use super::*;

impl Stage {
    /// The journal after a run against a disturbed one, and how the run ended.
    pub fn disturbed(&self, at: Epoch, disturbances: &[Disturbance]) -> (MemoryJournal, Log, Result<(), Failure>) {
        let (journal, log) = (MemoryJournal::default(), Log::default());
        let planned: Arc<Mutex<VecDeque<Disturbance>>> = Arc::new(Mutex::new(disturbances.iter().cloned().collect()));
        let open = |journal: MemoryJournal| -> Box<dyn Journal> {
            let (log, planned) = (log.clone(), planned.clone());
            let decide = move |records: &[Record], outputs: &[SinkRows]| {
                let epoch = log.note(records, outputs)?;
                if epoch == at { planned.lock().unwrap().pop_front() } else { None }
            };
            Disturbed::boxed(journal, decide)
        };
        let ended = run_on(&self.given, Variant::default(), &journal, &open);
        (journal, log, ended)
    }
}

/// What was asked of a journal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Append {
    pub epoch: Epoch,
    incarnation: u64,
    pub outputs: BTreeMap<usize, Vec<EncodedRows>>,
}

impl Append {
    pub fn rows(&self, sink: usize) -> Vec<Written> {
        self.outputs.get(&sink).map_or(Vec::new(), |rows| written(rows))
    }
}

/// Every append of an epoch, in order, whatever became of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Append>>>);

impl Log {
    /// The epoch of an append that has one.
    pub fn note(&self, records: &[Record], outputs: &[SinkRows]) -> Option<Epoch> {
        let epoch = records.iter().find_map(|record| match record {
            Record::Epoch(epoch) => Some(epoch),
            _ => None,
        })?;
        let outputs = outputs.iter().map(|output| (output.sink, output.rows.clone())).collect();
        self.0.lock().unwrap().push(Append { epoch: epoch.epoch, incarnation: epoch.incarnation, outputs });
        Some(epoch.epoch)
    }

    pub fn appends(&self) -> Vec<Append> {
        self.0.lock().unwrap().clone()
    }

    pub fn of(&self, epoch: Epoch) -> Vec<Append> {
        self.appends().into_iter().filter(|append| append.epoch == epoch).collect()
    }
}

/// What happens to one append.
#[derive(Debug, Clone)]
pub(super) enum Disturbance {
    Abort,
    /// The outcome is unknown, and nothing was written.
    Lose,
    /// The outcome is unknown, and all was written.
    LoseTheAnswer,
    /// Somebody fenced us and is gone again.
    Fence,
    /// Somebody fenced us and stands in the journal.
    FenceBy(Owner),
    /// The process dies before it.
    Die,
    /// The process dies when all is written, and has not heard of it.
    DieBehind,
    /// As `FenceBy`, but the owner record comes between our first look and our taking over.
    FenceLaterBy(Owner),
}

/// What becomes of an append; `None`: it is written.
type Decide = dyn FnMut(&[Record], &[SinkRows]) -> Option<Disturbance> + Send;

/// A journal in memory, whose appends end as they do in the world.
pub(super) struct Disturbed {
    journal: MemoryJournal,
    decide: Box<Decide>,
    on_acquire: Option<Owner>,
}

impl Disturbed {
    pub fn boxed(
        journal: MemoryJournal,
        decide: impl FnMut(&[Record], &[SinkRows]) -> Option<Disturbance> + Send + 'static,
    ) -> Box<dyn Journal> {
        Box::new(Disturbed { journal, decide: Box::new(decide), on_acquire: None })
    }
}

pub(super) fn away() -> Failure {
    Failure::outside("test.away", "the broker is away")
}

/// As `drive` knows it: the process is started again.
pub(super) fn died() -> Failure {
    Failure::outside(DIED, "the process dies here").no_retry()
}

impl Journal for Disturbed {
    fn acquire(&mut self) -> Result<Vec<Record>, Failure> {
        if let Some(owner) = self.on_acquire.take() {
            self.journal.append(&[Record::Owner(owner)], &[])?;
        }
        self.journal.acquire()
    }

    fn read(&mut self) -> Result<Vec<Record>, Failure> {
        self.journal.read()
    }

    fn append(&mut self, records: &[Record], outputs: &[SinkRows]) -> Result<Appended, Failure> {
        match (self.decide)(records, outputs) {
            None => self.journal.append(records, outputs),
            Some(Disturbance::Abort) => Ok(Appended::Aborted(away())),
            Some(Disturbance::Lose) => Ok(Appended::Unknown(away())),
            Some(Disturbance::LoseTheAnswer) => {
                self.journal.append(records, outputs)?;
                Ok(Appended::Unknown(away()))
            }
            Some(Disturbance::Die) => Err(died()),
            Some(Disturbance::DieBehind) => {
                self.journal.append(records, outputs)?;
                Err(died())
            }
            Some(Disturbance::Fence) => Ok(Appended::Fenced(away())),
            Some(Disturbance::FenceBy(owner)) => {
                self.journal.append(&[Record::Owner(owner)], &[])?;
                Ok(Appended::Fenced(away()))
            }
            Some(Disturbance::FenceLaterBy(owner)) => {
                self.on_acquire = Some(owner);
                Ok(Appended::Fenced(away()))
            }
        }
    }

    fn trim(&mut self, epoch: Epoch) -> Result<(), Failure> {
        self.journal.trim(epoch)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.journal.clear()
    }

    fn describe(&self) -> String {
        "a disturbed memory".into()
    }
}

#[test]
fn i10_an_epoch_is_appended_once_whole_with_the_rows_of_all_transactional_sinks() {
    let stage = Stage::of(EVERYTHING, 2, uneven_rows(2, 400, 40));
    let (journal, log, ended) = stage.disturbed(0, &[]);
    ended.unwrap();
    let appended: Vec<Epoch> = log.appends().iter().map(|append| append.epoch).collect();
    let recorded: Vec<Epoch> = epochs(&journal).iter().map(|epoch| epoch.epoch).collect();
    assert_eq!(appended, recorded);
    for sink in 0..stage.given.plan.sinks.len() {
        let sent: Vec<Written> = log.appends().iter().flat_map(|append| append.rows(sink)).collect();
        assert_eq!(sent, written(&journal.output(sink)));
    }
    assert!(log.appends().iter().any(|append| append.outputs.len() > 3), "several sinks share an append");
}

pub(super) fn two_epochs() -> Stage {
    Stage::of(SECONDS, 1, vec![second(1.0), Item::Cut, second(10.0), second(11.0), Item::Cut, second(12.0)])
}

#[test]
fn i11_after_an_abort_the_same_bytes_are_sent_again() {
    let stage = two_epochs();
    let expected = bytes(&stage.run(Variant::default()), stage.given.plan.sinks.len());
    let (journal, log, ended) = stage.disturbed(2, &[Disturbance::Abort, Disturbance::Abort]);
    ended.unwrap();
    let sent = log.of(2);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|append| *append == sent[0]), "{sent:?}");
    assert_eq!(bytes(&journal, stage.given.plan.sinks.len()), expected);
}

#[test]
fn i11_an_unknown_outcome_is_looked_up_and_the_epoch_sent_again_only_if_it_is_not_there() {
    let stage = two_epochs();
    let sinks = stage.given.plan.sinks.len();
    let (_, expected) = bytes(&stage.run(Variant::default()), sinks);
    for (disturbance, sent) in [(Disturbance::Lose, 2), (Disturbance::LoseTheAnswer, 1)] {
        let (journal, log, ended) = stage.disturbed(2, std::slice::from_ref(&disturbance));
        ended.unwrap();
        assert_eq!(log.of(2).len(), sent, "{disturbance:?}");
        assert_eq!(log.of(2)[0].outputs, log.of(2)[sent - 1].outputs);
        assert_eq!(bytes(&journal, sinks).1, expected, "{disturbance:?}");
    }
}

pub(super) fn newer() -> Owner {
    Owner { incarnation: 7, host: "elsewhere".into(), pid: 4711, instance: "another".into() }
}

#[test]
fn i15_a_fenced_instance_stops_where_a_newer_owner_stands_and_names_it() {
    let stage = two_epochs();
    for disturbance in [Disturbance::FenceBy(newer()), Disturbance::FenceLaterBy(newer())] {
        let (journal, log, ended) = stage.disturbed(2, std::slice::from_ref(&disturbance));
        let refused = ended.unwrap_err();
        assert_eq!(refused.code, "refused.taken_over", "{disturbance:?}");
        assert!(refused.to_string().contains("host elsewhere, pid 4711"), "{refused}");
        assert_eq!((log.of(2).len(), epochs(&journal).len()), (1, 1), "nothing is sent behind a newer owner");
    }
}

#[test]
fn i15_fenced_by_nobody_it_takes_over_with_a_higher_incarnation_and_sends_again() {
    let stage = two_epochs();
    let (_, expected) = bytes(&stage.run(Variant::default()), stage.given.plan.sinks.len());
    let (journal, log, ended) = stage.disturbed(2, &[Disturbance::Fence]);
    ended.unwrap();
    let incarnations = journal.records().into_iter().filter_map(|record| match record {
        Record::Owner(owner) => Some(owner.incarnation),
        _ => None,
    });
    assert_eq!(incarnations.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.of(2).len(), 2);
    assert_eq!(bytes(&journal, stage.given.plan.sinks.len()).1, expected);
}
