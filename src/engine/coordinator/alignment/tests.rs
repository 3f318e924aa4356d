//! I6 against partitions of every kind: what is read stays together in time, and everything is read.

use std::collections::BTreeSet;

use super::super::tests::{Random, SETTINGS};
use super::super::{Action, Coordinator, Event, LaneCut, LaneReport, PartitionView, Resumed, SourceTiming};
use crate::data::Partition;
use crate::time::{Millis, Watermark};

const ALIGN: Millis = 60_000;
const IDLE: Millis = 5_000;
const TIMING: SourceTiming = SourceTiming { lag_ms: 0, idle_ms: Some(IDLE), align_ms: Some(ALIGN) };

fn views(views: &[PartitionView]) -> LaneReport {
    let partitions = views.iter().copied().enumerate().map(|(p, view)| (p as Partition, view)).collect();
    LaneReport { rows: 0, bytes: 0, ranges_bytes: 0, drained: false, full: false, partitions }
}

fn at(time: Millis) -> PartitionView {
    PartitionView { max_time: Some(time), reached: Some(time), ..PartitionView::default() }
}

fn coordinator(timing: SourceTiming, lanes: usize) -> Coordinator {
    let resumed = Resumed { epoch: 0, watermark: Watermark::NONE, clock: 0, open_ends: Vec::new(), due: None };
    Coordinator::new(SETTINGS, vec![timing], vec![0; lanes], resumed, 0)
}

/// What lane 0 must not read after this report, if that has changed.
fn told(c: &mut Coordinator, now: Millis, report: LaneReport) -> Option<Vec<Partition>> {
    let actions = c.on(Event::Report { lane: 0, report }, now, now);
    actions.into_iter().find_map(|action| match action {
        Action::Pause { lane: 0, partitions } => Some(partitions.into_iter().collect()),
        _ => None,
    })
}

#[test]
fn i6_a_partition_far_ahead_waits_until_the_slow_one_has_come_nearer() {
    let mut c = coordinator(TIMING, 1);
    assert_eq!(told(&mut c, 1, views(&[at(ALIGN), at(0)])), None);
    assert_eq!(told(&mut c, 2, views(&[at(ALIGN + 1), at(0)])), Some(vec![0]));
    assert_eq!(told(&mut c, 3, views(&[at(ALIGN + 1), at(ALIGN / 4)])), None, "it would stop again at once");
    assert_eq!(told(&mut c, 4, views(&[at(ALIGN + 1), at(ALIGN / 4 + 1)])), Some(vec![]));
}

#[test]
fn i6_partitions_wait_for_those_of_other_lanes() {
    let mut c = coordinator(TIMING, 2);
    assert_eq!(told(&mut c, 1, views(&[at(2 * ALIGN)])), None);
    let actions = c.on(Event::Report { lane: 1, report: views(&[at(0)]) }, 2, 2);
    assert_eq!(actions, [Action::Pause { lane: 0, partitions: BTreeSet::from([0]) }]);
}

#[test]
fn i6_nobody_waits_for_what_has_ended_is_idle_or_keeps_up_with_its_end() {
    let slow = at(0);
    let ended = PartitionView { ended: true, ..slow };
    let idle = PartitionView { quiet_since: Some(0), ..slow };
    let keeps_up = PartitionView { keeps_up: true, ..slow };
    let silent = PartitionView::default();
    for other in [ended, idle, keeps_up, silent] {
        let mut c = coordinator(TIMING, 1);
        assert_eq!(told(&mut c, IDLE, views(&[at(9 * ALIGN), other])), None, "{other:?}");
    }
    let mut c = coordinator(TIMING, 1);
    assert_eq!(told(&mut c, IDLE, views(&[at(9 * ALIGN), slow])), Some(vec![0]));
    assert_eq!(told(&mut c, IDLE, views(&[at(9 * ALIGN), ended])), Some(vec![]), "it goes on as soon as that ends");
}

#[test]
fn i6_without_windows_nobody_waits() {
    let mut c = coordinator(SourceTiming { align_ms: None, ..TIMING }, 1);
    assert_eq!(told(&mut c, 1, views(&[at(9 * ALIGN), at(0)])), None);
}

#[test]
fn i6_times_at_both_ends_of_time_do_not_wrap() {
    let mut c = coordinator(TIMING, 1);
    assert_eq!(told(&mut c, 1, views(&[at(Millis::MAX), at(Millis::MIN)])), Some(vec![0]));
}

/// Lane 0 takes a row in, and its epoch commits with so much state behind it.
fn commit(c: &mut Coordinator, now: Millis, report: LaneReport, state_bytes: usize) -> Vec<Action> {
    let (lane, views) = (0, report.partitions.clone());
    let mut actions = c.on(Event::Report { lane, report: LaneReport { rows: 1, drained: true, ..report } }, now, now);
    assert_eq!(actions.pop(), Some(Action::Cut));
    let cut = LaneCut { partitions: Default::default(), views, clock: None };
    let [Action::Mark { mark, .. }] = &c.on(Event::Cut { lane, cut }, now, now)[..] else { panic!("no mark") };
    c.on(Event::Committed { epoch: mark.epoch, open_ends: Vec::new(), due: None, state_bytes }, now, now)
}

#[test]
fn i6_while_memory_is_short_only_the_slowest_are_read() {
    let near = PartitionView { keeps_up: true, ..at(0) };
    let all = || views(&[near, at(ALIGN / 8), at(ALIGN / 8 + 1)]);
    let mut c = coordinator(TIMING, 1);
    assert_eq!(commit(&mut c, 100, all(), 749), []);
    // Also for what stands at its end, until it is idle.
    assert_eq!(commit(&mut c, 200, all(), 750), [Action::Pause { lane: 0, partitions: BTreeSet::from([2]) }]);
    assert_eq!(commit(&mut c, 300, all(), 625), [], "still short");
    assert_eq!(commit(&mut c, 400, all(), 624), [Action::Pause { lane: 0, partitions: BTreeSet::new() }]);
}

#[test]
fn i6_full_memory_ends_the_run_only_when_nobody_is_left_to_wait() {
    let apart = || views(&[at(0), at(ALIGN)]);
    let mut c = coordinator(TIMING, 1);
    assert_eq!(commit(&mut c, 100, apart(), 1_001), [Action::Pause { lane: 0, partitions: BTreeSet::from([1]) }]);
    assert_eq!(commit(&mut c, 200, apart(), 1_000), []);
    assert_eq!(commit(&mut c, 300, apart(), 1_001), [Action::Full]);
    let mut c = coordinator(SourceTiming { align_ms: None, ..TIMING }, 1);
    assert_eq!(commit(&mut c, 100, apart(), 1_001), [Action::Full], "nothing here closes by waiting");
}

/// A partition with a backlog and, behind it, an end or a live tail.
#[derive(Debug)]
struct Log {
    rows: u64,
    /// Event time from row to row.
    step: Millis,
    time: Millis,
    ends: bool,
    /// Polls in a hundred that bring something.
    speed: u64,
    quiet_since: Option<Millis>,
}

impl Log {
    fn any(random: &mut Random) -> Log {
        Log {
            rows: random.below(400),
            step: [1, 100, 10_000, 3_600_000][random.below(4) as usize],
            time: random.below(86_400_000) as Millis,
            ends: random.below(2) == 0,
            speed: [10, 40, 100][random.below(3) as usize],
            quiet_since: None,
        }
    }

    fn view(&self) -> PartitionView {
        let time = Some(self.time);
        PartitionView {
            max_time: time,
            reached: time,
            keeps_up: self.rows == 0,
            quiet_since: self.quiet_since,
            ended: self.ends && self.rows == 0,
        }
    }
}

#[test]
fn i6_seeded_worlds_are_read_to_their_ends_and_stay_together() {
    for seed in 0..300u64 {
        let result = std::panic::catch_unwind(|| seeded_world(seed));
        assert!(result.is_ok(), "seed {seed} breaks a rule");
    }
}

fn seeded_world(seed: u64) {
    let mut random = Random::seeded(seed);
    let lanes = 1 + random.below(3) as usize;
    let logs = |random: &mut Random| (0..1 + random.below(4)).map(|_| Log::any(random)).collect();
    let mut world: Vec<Vec<Log>> = (0..lanes).map(|_| logs(&mut random)).collect();
    let mut c = coordinator(TIMING, lanes);
    let mut paused: Vec<BTreeSet<Partition>> = vec![BTreeSet::new(); lanes];
    let mut now = 0;
    for _ in 0..100_000 {
        if world.iter().flatten().all(|log| log.rows == 0) {
            return;
        }
        now += 10;
        let lane = random.below(lanes as u64) as usize;
        let slowest = world.iter().flatten().filter(|log| log.rows > 0).map(|log| log.time).min();
        let mut rows = 0;
        for (partition, log) in (0..).zip(&mut world[lane]) {
            if log.rows == 0 && !paused[lane].contains(&partition) {
                log.quiet_since.get_or_insert(now);
            } else if !paused[lane].contains(&partition) && random.below(100) < log.speed {
                // Told at once here, so nothing is read beyond; the first report has told of all.
                assert!(now < 1_000 || log.time <= slowest.unwrap().saturating_add(ALIGN), "{log:?} reads on");
                let taken = log.rows.min(1 + random.below(50));
                (log.rows, log.time) = (log.rows - taken, log.time + log.step * taken as Millis);
                (log.quiet_since, rows) = (None, rows + taken);
            }
        }
        let report = views(&world[lane].iter().map(|log| log.view()).collect::<Vec<_>>());
        obey(&mut c, Event::Report { lane, report: LaneReport { rows, ..report } }, now, &world, &mut paused);
    }
    panic!("it hangs: {world:?}");
}

/// Feeds an event and does at once what comes of it.
fn obey(c: &mut Coordinator, event: Event, now: Millis, world: &[Vec<Log>], paused: &mut [BTreeSet<Partition>]) {
    for action in c.on(event, now, now) {
        match action {
            Action::Pause { lane, partitions } => paused[lane] = partitions,
            Action::Cut => {
                for (lane, logs) in world.iter().enumerate() {
                    let views = views(&logs.iter().map(|log| log.view()).collect::<Vec<_>>()).partitions;
                    let cut = LaneCut { partitions: Default::default(), views, clock: None };
                    obey(c, Event::Cut { lane, cut }, now, world, paused);
                }
            }
            Action::Mark { mark, .. } => {
                let committed =
                    Event::Committed { epoch: mark.epoch, open_ends: Vec::new(), due: None, state_bytes: 0 };
                obey(c, committed, now, world, paused);
            }
            Action::Full => panic!("there is no state"),
            Action::Finished => {}
        }
    }
}
