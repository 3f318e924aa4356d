//! What was done, and how soon the pipeline was back: as a table and a histogram.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Kind;
use crate::engine::start::Took;

/// One time that it was hurt.
#[derive(Debug, Clone, PartialEq)]
pub struct Hurt {
    pub kind: Kind,
    /// Since the beginning.
    pub at: Duration,
    /// From the signal (of a suspended process: SIGCONT) to the first new committed output; `None`: there was none.
    pub recovery: Option<Duration>,
    /// What the start took of that; `None`: it did not start (it was suspended), or gave no output.
    pub took: Option<Took>,
}

/// What a recovery consists of: the parts of the start, which last one after the other, and all the rest.
type Part = (&'static str, fn(&Took) -> u64);
const PARTS: [Part; 7] = [
    ("brokers end what the one before left open", |took| took.fencing_ms),
    ("sinks are locked and opened", |took| took.sinks_ms),
    ("journal is taken over and read", |took| took.journal_ms.saturating_sub(took.fencing_ms)),
    ("owner record is committed", |took| took.owner_ms),
    ("state is read", |took| took.state_ms),
    ("sources are asked and opened", |took| took.sources_ms),
    ("replay", |took| took.replay_ms),
];

/// Everything that was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub hurts: Vec<Hurt>,
    /// Processes that were started.
    pub runs: u32,
    /// From the first start to the first output.
    pub first_output: Option<Duration>,
    /// Its sources ended before the time was over.
    pub by_itself: bool,
}

/// Upper bounds of the histogram's rows.
const BOUNDS_MS: [u64; 9] = [100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 30_000];
const BAR: usize = 40;

/// The least number of which this share of all is not above; `sorted` is not empty.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

impl Outcome {
    fn recoveries(&self, kind: Option<Kind>) -> Vec<Duration> {
        let of_kind = self.hurts.iter().filter(|hurt| kind.is_none_or(|kind| hurt.kind == kind));
        let mut all: Vec<Duration> = of_kind.filter_map(|hurt| hurt.recovery).collect();
        all.sort_unstable();
        all
    }

    /// The table and the histogram, as lines.
    pub fn lines(&self) -> Vec<String> {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        self.hurts.iter().for_each(|hurt| *counts.entry(hurt.kind).or_default() += 1);
        let mut lines = Vec::new();
        if let Some(first) = self.first_output {
            lines.push(format!("first output after {}", seconds(first)));
        }
        if counts.is_empty() {
            lines.push("it was never hurt".into());
            return lines;
        }
        lines.push(
            "hurt     times  without output      min      p50      p90      max   to the first new committed output"
                .into(),
        );
        let all = std::iter::once((None, self.hurts.len()));
        for (kind, count) in counts.into_iter().map(|(kind, count)| (Some(kind), count)).chain(all) {
            let times = self.recoveries(kind);
            let at = |share| if times.is_empty() { "–".to_owned() } else { seconds(quantile(&times, share)) };
            let name = kind.map_or("all", Kind::word);
            let none = count - times.len();
            lines.push(format!(
                "{name:<8} {count:>5}  {none:>14} {:>8} {:>8} {:>8} {:>8}",
                at(0.0),
                at(0.5),
                at(0.9),
                at(1.0)
            ));
        }
        lines.extend(self.parts());
        lines.extend(histogram(&self.recoveries(None)));
        lines
    }

    /// What the recoveries with a start consisted of, as lines.
    fn parts(&self) -> Vec<String> {
        let started: Vec<(Duration, Took)> =
            self.hurts.iter().filter_map(|hurt| Some((hurt.recovery?, hurt.took?))).collect();
        if started.is_empty() {
            return Vec::new();
        }
        let line = |name: &str, mut times: Vec<Duration>| {
            times.sort_unstable();
            format!("{name:<48} {:>8} {:>8}", seconds(quantile(&times, 0.5)), seconds(quantile(&times, 1.0)))
        };
        let of = |(name, part): &Part| {
            line(name, started.iter().map(|(_, took)| Duration::from_millis(part(took))).collect())
        };
        let rest =
            |(recovery, took): &(Duration, Took)| recovery.saturating_sub(Duration::from_millis(took.total_ms()));
        let mut lines = vec![format!("{:<48} {:>8} {:>8}", "of that, where it was started again", "p50", "max")];
        lines.extend(PARTS.iter().map(of));
        lines.push(line("processes end and begin, plan, read and commit", started.iter().map(rest).collect()));
        lines
    }

    pub fn as_json(&self) -> serde_json::Value {
        let ms = |time: Duration| time.as_millis() as u64;
        let hurt = |hurt: &Hurt| {
            let recovery_ms = hurt.recovery.map(ms);
            serde_json::json!({ "kind": hurt.kind, "at_ms": ms(hurt.at), "recovery_ms": recovery_ms, "took": hurt.took })
        };
        let bound =
            |(index, count): (usize, usize)| serde_json::json!({ "up_to_ms": BOUNDS_MS.get(index), "count": count });
        let times = self.recoveries(None);
        let at = |share| (!times.is_empty()).then(|| ms(quantile(&times, share)));
        serde_json::json!({
            "hurts": self.hurts.iter().map(hurt).collect::<Vec<_>>(),
            "runs": self.runs,
            "first_output_ms": self.first_output.map(ms),
            "ended_by_itself": self.by_itself,
            "recovery_ms": { "min": at(0.0), "p50": at(0.5), "p90": at(0.9), "max": at(1.0) },
            // The last one has no bound.
            "histogram": rows(&times).into_iter().enumerate().map(bound).collect::<Vec<_>>(),
        })
    }
}

/// How many times are in each row of the histogram.
fn rows(times: &[Duration]) -> [usize; BOUNDS_MS.len() + 1] {
    let bound = |time: &Duration| BOUNDS_MS.iter().position(|bound| time.as_millis() <= u128::from(*bound));
    let mut rows = [0; BOUNDS_MS.len() + 1];
    times.iter().for_each(|time| rows[bound(time).unwrap_or(BOUNDS_MS.len())] += 1);
    rows
}

fn histogram(times: &[Duration]) -> Vec<String> {
    let rows = rows(times);
    let most = rows.iter().copied().max().unwrap_or(0);
    let (Some(first), Some(last)) =
        (rows.iter().position(|count| *count > 0), rows.iter().rposition(|count| *count > 0))
    else {
        return Vec::new();
    };
    let label = |index: usize| match BOUNDS_MS.get(index) {
        Some(bound) => format!("≤ {}", seconds(Duration::from_millis(*bound))),
        None => "more".to_owned(),
    };
    let line = |index: usize| {
        let length = (rows[index] * BAR).div_ceil(most);
        format!("{:>10} {:>5} {}", label(index), rows[index], "█".repeat(length)).trim_end().to_owned()
    };
    (first..=last).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_by_kind_and_a_histogram_of_all() {
        let hurt =
            |kind, ms: u64| Hurt { kind, at: Duration::ZERO, recovery: Some(Duration::from_millis(ms)), took: None };
        let mut hurts: Vec<Hurt> = [400, 450, 480, 900].into_iter().map(|ms| hurt(Kind::Kill, ms)).collect();
        hurts.push(hurt(Kind::Stop, 2_500));
        hurts.push(Hurt { recovery: None, ..hurt(Kind::Stop, 0) });
        let outcome = Outcome { hurts, runs: 7, first_output: Some(Duration::from_millis(1_234)), by_itself: false };
        let lines = outcome.lines();
        assert_eq!(lines[0], "first output after 1.23 s");
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(&lines[2])[..3], ["stop", "2", "1"]);
        assert_eq!(cells(&lines[3]), cells("kill 4 0 0.40 s 0.45 s 0.90 s 0.90 s"));
        assert_eq!(cells(&lines[4]), cells("all 6 1 0.40 s 0.48 s 2.50 s 2.50 s"));
        let bars: Vec<(usize, usize)> = lines[5..]
            .iter()
            .map(|line| {
                let count = cells(line)[3].parse().unwrap();
                (count, line.chars().filter(|c| *c == '█').count())
            })
            .collect();
        assert_eq!(bars, [(3, 40), (1, 14), (0, 0), (1, 14)]);
        let json = outcome.as_json();
        assert_eq!(json["recovery_ms"]["max"], 2_500);
        let rows = json["histogram"].as_array().unwrap();
        let counts: Vec<u64> = rows.iter().map(|row| row["count"].as_u64().unwrap()).collect();
        assert_eq!(counts, [0, 0, 3, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!((&rows[2]["up_to_ms"], rows[9]["up_to_ms"].is_null()), (&500.into(), true));
    }

    #[test]
    fn the_parts_of_a_start_stand_apart_and_add_up_with_the_rest() {
        let took = Took { sinks_ms: 20, journal_ms: 560, fencing_ms: 520, owner_ms: 30, ..Took::default() };
        let hurt = |ms: u64, took| Hurt {
            kind: Kind::Kill,
            at: Duration::ZERO,
            recovery: Some(Duration::from_millis(ms)),
            took,
        };
        // A suspended process did not start; the second start met nothing open.
        let quick = Took { journal_ms: 40, fencing_ms: 0, ..took };
        let hurts = vec![hurt(800, Some(took)), hurt(9_000, None), hurt(300, Some(quick))];
        let lines = Outcome { hurts, ..Outcome::default() }.lines();
        let cells: Vec<String> =
            lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let wanted = [
            "brokers end what the one before left open 0.00 s 0.52 s",
            "journal is taken over and read 0.04 s 0.04 s",
            "processes end and begin, plan, read and commit 0.19 s 0.21 s",
        ];
        assert!(wanted.iter().all(|line| cells.iter().any(|cells| cells == line)), "{lines:#?}");
        assert_eq!(Outcome { hurts: vec![hurt(9, None)], ..Outcome::default() }.parts(), Vec::<String>::new());
    }

    #[test]
    fn what_was_never_hurt_has_no_times() {
        assert_eq!(Outcome::default().lines(), ["it was never hurt"]);
        assert_eq!(Outcome::default().as_json()["recovery_ms"]["p50"], serde_json::Value::Null);
    }
}
