//! `runner chaos`: runs a pipeline as a child process, hurts it, and has it verified.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::Common;
use super::output::{self, Exit, Output, say};
use super::specs::{SpecArgs, documents, planned};
use super::stops::Stops;
use super::verify::{HowArgs, pipelines};
use crate::chaos::{Hurt, Kind, Outcome, Program, Settings, run as hurt};
use crate::connectors::kafka::{KafkaSink, Tail};
use crate::deploy::prepare;
use crate::plan::Plan;
use crate::plan::resolve::Servers;
use crate::report::Failure;
use crate::time::{Millis, duration};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
    /// How the process is hurt; each time one of these is drawn.
    #[arg(long = "kill", value_enum, value_delimiter = ',', default_values_t = [KindArg::Kill])]
    kinds: Vec<KindArg>,
    /// About how long it is left alone once it has new output.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "2s")]
    every: Millis,
    /// How long this goes on.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse, default_value = "60s")]
    total: Millis,
    /// How long a suspended process sleeps.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "3s")]
    suspended: Millis,
    /// Draws the same kinds and pauses again. Default: another one each time; it is printed.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KindArg {
    /// Ctrl-C
    Stop,
    /// SIGTERM
    Term,
    /// SIGKILL
    Kill,
    /// SIGSTOP, and after a while SIGCONT
    Suspend,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Kind {
        match kind {
            KindArg::Stop => Kind::Stop,
            KindArg::Term => Kind::Term,
            KindArg::Kill => Kind::Kill,
            KindArg::Suspend => Kind::Suspend,
        }
    }
}

/// How long the last run may take to read what is left.
const DRAIN_WITHIN: Duration = Duration::from_secs(1_800);

pub fn run(args: Args, common: &Common) -> Exit {
    let output = common.output;
    let (documents, found) = match documents(&args.specs, output) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let (plans, warnings) = planned(&documents, found, &Servers::default());
    if let Some(exit) = output::diagnostics(&warnings, output) {
        return exit;
    }
    let outcome = match disturb(&args, &plans, output) {
        Ok(outcome) => outcome,
        Err(failure) => return output::failure(&failure, output),
    };
    drop(plans);
    if output == Output::Text {
        outcome.lines().iter().for_each(|line| say!("{line}"));
    }
    let verified = match pipelines(&args.specs, &[], &args.how, output) {
        Ok(verified) => verified,
        Err(exit) => return exit,
    };
    let live = args.how.live;
    match output {
        Output::Text => verified.tell(live, output),
        json => json.print(&serde_json::json!({ "chaos": outcome.as_json(), "verified": verified.as_json(live) })),
    }
    if verified.is_clean(live) { Exit::Done } else { Exit::AnswerIsNo }
}

/// Hurts the pipelines, then has them read what is left.
fn disturb(args: &Args, plans: &[Plan], output: Output) -> Result<Outcome, Failure> {
    let seed = args.seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    // Sinks that are to be watched must be there.
    prepare(plans)?;
    let mut tails = tails(plans)?;
    let stops = Stops::watching()?;
    let time = |ms: Millis| Duration::from_millis(ms.max(0) as u64);
    let settings = Settings {
        program: program(&args.specs)?,
        kinds: args.kinds.iter().map(|kind| Kind::from(*kind)).collect(),
        every: time(args.every),
        total: time(args.total),
        suspended: time(args.suspended),
        seed,
    };
    eprintln!("hurts `{}` for {}, seed {seed}", names(plans), duration::format(args.total));
    let mut told = |hurt: &Hurt| {
        if output == Output::Text {
            let back = hurt
                .recovery
                .map_or("no new output".to_owned(), |time| format!("back after {:.2} s", time.as_secs_f64()));
            eprintln!("{:>6.1} s  {:<8} {back}", hurt.at.as_secs_f64(), hurt.kind.word());
        }
    };
    let outcome = hurt(&settings, &mut tails, &|| !stops.asked(), &mut told)?;
    let ends = |plan: &Plan| plan.sources.iter().all(|source| ["kafka", "file"].contains(&source.source.connector()));
    if !args.how.live && plans.iter().all(ends) {
        let begun = Instant::now();
        settings.program.start(&["--until", "end"])?.ends_within(DRAIN_WITHIN)?;
        eprintln!("the rest was read in {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(outcome)
}

fn names(plans: &[Plan]) -> String {
    plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>().join("`, `")
}

/// This very program, which applies the same specs.
fn program(specs: &SpecArgs) -> Result<Program, Failure> {
    let path = std::env::current_exe()
        .map_err(|error| Failure::outside("chaos.start", "cannot find this program's own file").because(error))?;
    let mut arguments: Vec<OsString> = vec!["apply".into()];
    arguments.extend(specs.paths.iter().map(|path| path.clone().into_os_string()));
    arguments.extend(specs.values.sets.iter().flat_map(|set| ["--set".into(), set.into()]));
    for file in &specs.values.files {
        arguments.extend(["--values".into(), file.clone().into_os_string()]);
    }
    Ok(Program { path, arguments })
}

/// One of each cluster that is written to.
fn tails(plans: &[Plan]) -> Result<Vec<Tail>, Failure> {
    let mut clusters: BTreeMap<String, (&KafkaSink, Vec<String>)> = BTreeMap::new();
    for sink in plans.iter().flat_map(|plan| &plan.sinks) {
        if let Some(sink) = (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>().filter(|sink| sink.routes.is_none()) {
            let (_, topics) = clusters.entry(sink.cluster.brokers.clone()).or_insert_with(|| (sink, Vec::new()));
            if !topics.contains(&sink.topic) {
                topics.push(sink.topic.clone());
            }
        }
    }
    if clusters.is_empty() {
        return Err(Failure::user(
            "chaos.no_sink",
            "no sink of these pipelines is a Kafka topic, by which output is seen",
        ));
    }
    clusters.values().map(|(sink, topics)| Tail::open(&sink.cluster, topics)).collect()
}
