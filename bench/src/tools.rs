//! The tools beside the pipelines: how many records a second `runner generate` gives to a pipe, and `runner verify` judges.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::measure::{Used, run};
use crate::report::medians;
use crate::work::{Bench, Values, strs};

/// Records in each second of the time that `generate` fills.
const RATE: u64 = 1_000;

/// Millions of records a second through a pipe, with three features; what reads it only counts.
pub fn generate(bench: &Bench, runs: usize) -> Result<Values> {
    let records = bench.records_at_most(10_000_000);
    let room = bench.room()?;
    std::fs::copy(Bench::spec("visits.csv"), room.join("visits.csv"))?;
    let (hours, rate) = ((records as f64 / RATE as f64 / 3_600.0).to_string(), RATE.to_string());
    let mut all = Vec::new();
    for _ in 0..runs {
        let mut command = Command::new(&bench.runner);
        command.args(["generate", "--features", "visits.csv", "--hours", &hours, "--rate", &rate]).current_dir(&room);
        let started = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut pipe = child.stdout.take().ok_or("no pipe")?;
        let (mut lines, mut bytes, mut buffer) = (0, 0, vec![0; 1 << 16]);
        loop {
            let read = pipe.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            bytes += read;
        }
        let status = child.wait()?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() || lines.abs_diff(records) > 1 {
            return Err(format!("generate ended with {status} and {lines} lines of {records}").into());
        }
        let values = [("million_per_s", lines as f64 / 1e6 / seconds), ("bytes_each", bytes as f64 / lines as f64)];
        eprintln!("generate: {values:?}");
        all.push(Values::from(values));
    }
    Ok(medians(&all))
}

/// Millions of records a second, of which there are as many in the source as in the sink, and memory: two topics by
/// provenance, content and a column; and a pipeline that is computed again.
pub fn verify(bench: &Bench, runs: usize) -> Result<Values> {
    let records = bench.records_at_most(3_000_000);
    let room = bench.room()?;
    for topic in ["bench_numbered", "bench_numbered_copy", "bench_numbered_large"] {
        bench.admin.delete(topic)?;
    }
    run(&bench.runner, &strs(&Bench::arguments("numbered.yaml", &["--set", &format!("records={records}")])), &room)?;
    run(&bench.runner, &strs(&Bench::arguments("verified.yaml", &[])), &room)?;
    let brokers = bench.servers.brokers.as_str();
    let two = ["verify", "--from", "bench_numbered", "--to", "bench_numbered_copy", "--brokers", brokers, "--by"];
    let spec = Bench::spec("verified.yaml").to_string_lossy().into_owned();
    let again = ["verify", "connection.yaml", &spec, "--sink", "large_rows"];
    let ways: [(&str, &str, Vec<&str>); 4] = [
        ("provenance_million_per_s", "provenance_mib", [&two[..], &["provenance"]].concat()),
        ("content_million_per_s", "content_mib", [&two[..], &["content"]].concat()),
        ("column_million_per_s", "column_mib", [&two[..], &["column=id"]].concat()),
        ("computed_again_million_per_s", "computed_again_mib", again.to_vec()),
    ];
    let mut all = Vec::new();
    for _ in 0..runs {
        let mut values = Values::new();
        for (rate, memory, arguments) in &ways {
            // Ends with 4, and the benchmark with it, where something is found.
            let Used { wall, rss_bytes, .. } = run(&bench.runner, arguments, &room)?;
            values.insert(rate, records as f64 / 1e6 / wall.as_secs_f64());
            values.insert(memory, (rss_bytes >> 20) as f64);
        }
        eprintln!("verify: {values:?}");
        all.push(values);
    }
    Ok(medians(&all))
}
