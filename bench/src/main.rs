//! Measures `runner` on real servers, beside programs that are written by hand for the purpose.
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml -- WORK… [--records 10000000] [--runs 3]
//!     [--runner PATH] [--seconds 95] [--json FILE]
//! ```
//!
//! `WORK` is `all` or some of the names in `work::WORKS` and `work::OTHERS`; `--seconds` is how long `snapshots` and `rest` measure. A Kafka broker and a schema registry are started as for the
//! tests (`tests/servers`), or named by `RUNNER_TEST_KAFKA` and `RUNNER_TEST_REGISTRY`. Without `--runner` the project is
//! built in release mode first.
//!
//! Every run is a process of its own: its CPU time is user + system of all its threads, its memory
//! the highest resident set, both as the kernel reports them at its end. Runs take turns: floor, `runner`, and one of
//! them again as control; what the two equal ones differ by is noise. After each run the sink is read
//! and must hold exactly the rows that the source gives. A run that leaves anything else ends the benchmark.

mod check;
mod client;
mod floor;
mod frames;
mod killed;
mod latency;
mod measure;
mod recovery;
mod report;
mod rest;
mod servers;
mod snapshots;
mod start;
mod started;
mod tools;
mod work;

use std::process::ExitCode;

/// The allocator of `runner`, for the client library too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What goes wrong here is told to a person, who then runs it again.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // The parts that run as processes of their own.
        ["floor", rest @ ..] => floor::main(rest),
        ["check", rest @ ..] => check::main(rest),
        ["latency-load", rest @ ..] => latency::main(rest),
        rest => work::main(rest),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
