//! What a run says of itself under `--output json`: the parts of its start, and its totals.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::measure::Running;

const PATIENCE: Duration = Duration::from_secs(120);

/// What its start found and took, once it has said so.
pub fn report(running: &Running) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = running.said()?;
        if let Some(report) = lines(&said).find_map(|line| line.get("started").cloned()) {
            return Ok(report);
        }
        if Instant::now() > deadline || running.has_ended() {
            return Err(format!("it has not said that it started:\n{said}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The seconds that a part of a start took.
pub fn part(report: &Value, name: &str) -> Result<f64> {
    let ms = report["took"][name].as_f64().ok_or_else(|| format!("a start does not say `{name}`"))?;
    Ok(ms / 1e3)
}

/// One of the totals that a run ended with.
pub fn total(said: &str, name: &str) -> Result<f64> {
    let total = lines(said).filter_map(|line| line.get("totals")?.get(name)?.as_f64()).last();
    total.ok_or_else(|| format!("it ended without a total of `{name}`:\n{said}").into())
}

fn lines(said: &str) -> impl Iterator<Item = Value> + '_ {
    said.lines().filter_map(|line| serde_json::from_str(line).ok())
}
