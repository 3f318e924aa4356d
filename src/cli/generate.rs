//! `runner generate`: made data, to a pipe, files or Kafka.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::Common;
use super::output::{self, Exit, Output};
use super::progress::Progress;
use super::stops::Stops;
use crate::connectors::kafka::Cluster;
use crate::data::size;
use crate::generate::{Destination, Format, Made, Pace, Settings, read_features, run as generate};
use crate::report::Failure;
use crate::time::{Millis, SystemClock, duration};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many users there are.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    users: u64,
    /// How many devices a user has at most.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    devices: u64,
    /// How many visits a user makes over the whole time.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    visits: u64,
    /// Further columns: a file of `name,type,length,cardinality` (and a distribution); types are categorical, random, numeric.
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// How long a time the records are spread over.
    #[arg(long, value_name = "HOURS", default_value_t = 1.0)]
    hours: f64,
    /// How many records there are for each second of that time.
    #[arg(long, value_name = "RECORDS", default_value_t = 1_000.0)]
    rate: f64,
    /// Begin now and give each record when its time comes, instead of all at once.
    #[arg(long)]
    trickle: bool,
    /// Time of the first record, in RFC 3339. Default: 2026-01-01T00:00:00Z; with --trickle now.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "trickle")]
    start: Option<Millis>,
    /// Records are out of order by at most this, for example 2s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "0s")]
    disorder: Millis,
    /// The same seed and settings give the same records.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    #[arg(long, value_enum, default_value_t = FormatArg::Json)]
    format: FormatArg,
    /// Write files into this folder instead of stdout.
    #[arg(long, value_name = "FOLDER", conflicts_with = "topic")]
    out: Option<PathBuf>,
    /// How many files, each with its share of the time.
    #[arg(long, value_name = "COUNT", default_value_t = 1, requires = "out")]
    files: u64,
    /// Compress the files.
    #[arg(long, requires = "out")]
    gzip: bool,
    /// Write to this Kafka topic instead of stdout, keyed by user; it is made where there is none.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// How many partitions a topic gets that is made. Default: what the broker says.
    #[arg(long, value_name = "COUNT", requires = "topic", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A Kafka cluster that no spec names.
#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    /// The Kafka cluster.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9092")]
    pub brokers: String,
    /// A property of the Kafka client, for example security.protocol=ssl; may be repeated.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,
}

impl ClusterArgs {
    pub fn cluster(&self) -> Result<Cluster, Failure> {
        Cluster::new(&self.brokers, self.properties.iter().cloned().collect::<BTreeMap<_, _>>())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    Json,
    Csv,
}

fn moment(text: &str) -> Result<Millis, String> {
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_millis()).map_err(|_| "not a time such as 2026-01-01T00:00:00Z".to_owned())
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// 2026-01-01T00:00:00Z.
const BEGIN: Millis = 1_767_225_600_000;

impl Args {
    fn settings(&self) -> Result<Settings, Failure> {
        let wrong = |what: &str| Failure::user("generate.settings", what);
        let span_ms = self.hours * 3_600_000.0;
        let are_above_0 = (1.0..=1e15).contains(&span_ms) && self.rate > 0.0 && self.rate <= 1e12;
        if !are_above_0 {
            return Err(wrong("`--hours` and `--rate` are above 0"));
        }
        let begin = match self.start {
            Some(begin) => begin,
            None if self.trickle => SystemClock::shared().now(),
            None => BEGIN,
        };
        Ok(Settings {
            users: self.users,
            devices: self.devices,
            visits: self.visits,
            features: self.features.as_deref().map(read_features).transpose()?.unwrap_or_default(),
            records: ((self.rate * span_ms / 1_000.0).round() as u64).max(1),
            begin,
            span_ms: span_ms as Millis,
            disorder_ms: self.disorder,
            seed: self.seed,
            format: if self.format == FormatArg::Json { Format::Json } else { Format::Csv },
        })
    }
}

pub fn run(args: Args, common: &Common) -> Exit {
    // stdout belongs to the data.
    let output = if common.output.is_json() { Output::JsonBesideRows } else { Output::Text };
    let stops = match Stops::watching() {
        Ok(stops) => stops,
        Err(failure) => return output::failure(&failure, output),
    };
    let begun = Instant::now();
    match make(&args, &stops, output) {
        Ok(made) => {
            report(&made, begun.elapsed().as_secs_f64(), output);
            Exit::Done
        }
        Err(failure) if ["generate.settings", "generate.features"].contains(&failure.code) => {
            output::failure(&failure, output);
            Exit::SpecWrong
        }
        Err(failure) => output::failure(&failure, output),
    }
}

fn make(args: &Args, stops: &Arc<Stops>, output: Output) -> Result<Made, Failure> {
    let settings = args.settings()?;
    let mut lines = stdout().lock();
    let to_stdout = args.out.is_none() && args.topic.is_none();
    let to = match (&args.out, &args.topic) {
        (Some(folder), _) => Destination::Files { folder: folder.clone(), count: args.files, gzip: args.gzip },
        (None, Some(topic)) => {
            let cluster = args.cluster.cluster()?;
            Destination::Topic { cluster, topic: topic.clone(), partitions: args.partitions }
        }
        (None, None) => Destination::Lines(&mut lines),
    };
    let pace = if args.trickle { Pace::PerSecond(args.rate) } else { Pace::Max };
    // A bar would be torn by records on the same terminal.
    let shown = output == Output::Text && !(to_stdout && stdout().is_terminal());
    let progress = Progress::new(settings.records, shown);
    let mut going = |made| {
        progress.at(made);
        !stops.asked()
    };
    generate(settings, to, pace, &mut going)
}

fn report(made: &Made, seconds: f64, output: Output) {
    if output.is_json() {
        let Made { records, bytes, all } = made;
        output.print(&serde_json::json!({ "records": records, "bytes": bytes, "seconds": seconds, "all": all }));
        return;
    }
    let ended = if made.all { "" } else { "; it was ended before all were made" };
    let per_second = made.records as f64 / seconds.max(1e-9);
    eprintln!(
        "{} records, {} in {seconds:.1} s, {per_second:.0} a second{ended}",
        made.records,
        size(made.bytes as usize)
    );
}
