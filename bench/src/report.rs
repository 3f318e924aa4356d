//! Medians, the table and the JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::measure::Used;
use crate::work::Values;

/// The runs of one work.
pub struct Figure {
    name: &'static str,
    records: u64,
    has_floor: bool,
    /// Rows that each sink was found to hold.
    pub rows: u64,
    /// By turn.
    runs: BTreeMap<&'static str, Vec<Used>>,
}

impl Figure {
    pub fn new(name: &'static str, records: u64, has_floor: bool) -> Figure {
        Figure { name, records, has_floor, rows: 0, runs: BTreeMap::new() }
    }

    pub fn add(&mut self, turn: &'static str, used: Used) {
        self.runs.entry(turn).or_default().push(used);
    }

    /// CPU seconds per million records.
    fn cpu(&self, turn: &str) -> Option<f64> {
        let runs = self.runs.get(turn)?;
        Some(median(runs.iter().map(|used| used.cpu.as_secs_f64() * 1e6 / self.records as f64)))
    }

    fn wall(&self, turn: &str) -> Option<f64> {
        Some(median(self.runs.get(turn)?.iter().map(|used| used.wall.as_secs_f64())))
    }

    /// Of all runs: a limit is for the worst.
    fn rss_mib(&self, turn: &str) -> Option<u64> {
        self.runs
            .iter()
            .filter(|(name, _)| name.starts_with(turn))
            .flat_map(|(_, runs)| runs)
            .map(|u| u.rss_bytes >> 20)
            .max()
    }

    /// What the control differs by from what it repeats.
    fn noise(&self) -> Option<f64> {
        let of = if self.has_floor { "floor" } else { "runner" };
        Some(self.cpu(&format!("{of} again"))? / self.cpu(of)?)
    }

    fn line(&self) -> String {
        let of_floor = self.cpu("floor").zip(self.cpu("runner")).map(|(floor, ours)| ours / floor);
        let cell = |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
        let mib = self.rss_mib("runner").map_or(String::new(), |mib| mib.to_string());
        let cells = [
            self.name.to_owned(),
            cell(self.cpu("floor"), 3),
            cell(self.noise(), 2),
            cell(self.cpu("runner"), 3),
            cell(of_floor, 2),
            cell(self.wall("runner"), 2),
            mib,
            self.rows.to_string(),
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn json(&self) -> Value {
        let runs = self.runs.iter().map(|(turn, runs)| {
            let runs: Vec<Value> = runs
                .iter()
                .map(|used| json!({"cpu_s": used.cpu.as_secs_f64(), "wall_s": used.wall.as_secs_f64(), "rss_bytes": used.rss_bytes}))
                .collect();
            ((*turn).to_owned(), Value::from(runs))
        });
        let runs: serde_json::Map<String, Value> = runs.collect();
        json!({
            "work": self.name, "records": self.records, "rows": self.rows,
            "floor_cpu_s_per_million": self.cpu("floor"), "cpu_s_per_million": self.cpu("runner"),
            "control_ratio": self.noise(), "wall_s": self.wall("runner"), "rss_mib": self.rss_mib("runner"), "runs": runs,
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Values of several runs, each by its median.
pub fn medians(runs: &[Values]) -> Values {
    let names = runs.first().map(|run| run.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
    names.into_iter().map(|name| (name, median(runs.iter().filter_map(|run| run.get(name).copied())))).collect()
}

/// Prints as it grows.
pub struct Report {
    works: Vec<Value>,
    others: serde_json::Map<String, Value>,
    records: u64,
    runs: usize,
}

impl Report {
    pub fn new(records: u64, runs: usize) -> Report {
        println!("{records} records, median of {runs}; CPU seconds (user + system, all threads) per million records\n");
        println!("| work | floor | control | runner | of the floor | wall s | peak MiB | rows in the sink |");
        println!("|---|---|---|---|---|---|---|---|");
        Report { works: Vec::new(), others: serde_json::Map::new(), records, runs }
    }

    pub fn add(&mut self, figure: Figure) {
        println!("{}", figure.line());
        self.works.push(figure.json());
    }

    /// Figures that do not fit the table.
    pub fn more(&mut self, name: &'static str, values: Values) {
        if self.others.is_empty() {
            println!();
        }
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        println!("{name}: {}", shown.join(", "));
        self.others.insert(name.to_owned(), json!(values));
    }

    pub fn json(&self) -> String {
        let all = json!({"records": self.records, "runs": self.runs, "works": self.works, "others": self.others});
        format!("{all:#}\n")
    }
}
