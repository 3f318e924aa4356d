//! `runner chaos`: runs a pipeline as a child process, hurts it, and has it verified.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::Common;
use super::output::{self, Exit, Output, say};
use super::specs::{SpecArgs, documents, planned};
use super::stops::Stops;
use super::verdict::Verified;
use super::verify::{HowArgs, Trouble, judgeable, judged};
use crate::chaos::{Hurt, Kind, Outcome, Program, Settings, run as hurt};
use crate::connectors::kafka::{KafkaSink, Tail};
use crate::deploy::prepare;
use crate::plan::Plan;
use crate::plan::resolve::Servers;
use crate::report::{Diagnostics, Failure};
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
    let (plans, warnings) = planned(&documents, Diagnostics(found.0.clone()), &Servers::default());
    if let Some(exit) = output::diagnostics(&warnings, output) {
        return exit;
    }
    if output == Output::Text {
        not_judged(&plans).iter().for_each(|why| eprintln!("not verified: {why}"));
    }
    let (outcome, ended) = match disturb(&args, &plans, output) {
        Ok(disturbed) => disturbed,
        Err(failure) => return output::failure(&failure, output),
    };
    drop(plans);
    let verified = match ended {
        Ok(()) => judged(documents, found, &[], &args.how, output),
        Err(failure) => Err(Trouble::Failed(failure)),
    };
    tell(&outcome, verified, args.how.live, output)
}

/// Sinks that cannot be judged, and why. It is said before anything is hurt: who wants a proof need not wait to hear of it.
fn not_judged(plans: &[Plan]) -> Vec<String> {
    let each = plans.iter().flat_map(|plan| (0..plan.sinks.len()).map(move |index| judgeable(plan, index)));
    each.filter_map(Result::err).collect()
}

/// Prints what was done, what came of it, and what it means; what was done also where a failure came of it.
fn tell(outcome: &Outcome, verified: Result<Verified, Trouble>, live: bool, output: Output) -> Exit {
    if output == Output::Text {
        outcome.lines().iter().for_each(|line| say!("{line}"));
        return match verified {
            Ok(verified) => {
                verified.tell(live, output);
                say!("verdict: {}", verified.verdict(live));
                verified.exit(live)
            }
            Err(trouble) => {
                say!("verdict: failed, nothing was judged");
                trouble.tell(output)
            }
        };
    }
    let (report, exit) = match verified {
        Ok(verified) => {
            let (verdict, exit) = (verified.verdict(live), verified.exit(live));
            let verified = verified.as_json(live);
            let report = json!({ "verdict": verdict.word(), "counts": verdict, "verified": verified });
            (report, exit)
        }
        Err(trouble) => {
            let (name, what, exit) = trouble.as_json();
            (json!({ "verdict": "failed", name: what }), exit)
        }
    };
    let mut all = json!({ "chaos": outcome.as_json() });
    if let (Some(all), Json::Object(report)) = (all.as_object_mut(), report) {
        all.extend(report);
    }
    output.print(&all);
    exit
}

/// Hurts the pipelines, then has them read what is left. Gives what was done, and whether it came to its end.
///
/// # Errors
/// What kept it from the beginning.
fn disturb(args: &Args, plans: &[Plan], output: Output) -> Result<(Outcome, Result<(), Failure>), Failure> {
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
            let fencing = hurt.took.map_or(String::new(), |took| {
                format!(", {:.2} s of it the brokers' fencing", took.fencing_ms as f64 / 1_000.0)
            });
            eprintln!("{:>6.1} s  {:<8} {back}{fencing}", hurt.at.as_secs_f64(), hurt.kind.word());
        }
    };
    let (outcome, ended) = hurt(&settings, &mut tails, &|| !stops.asked(), &mut told);
    let ended = ended.and_then(|()| if args.how.live { Ok(()) } else { read_the_rest(&settings.program, plans) });
    Ok((outcome, ended))
}

/// Of pipelines whose sources have an end.
fn read_the_rest(program: &Program, plans: &[Plan]) -> Result<(), Failure> {
    let mut sources = plans.iter().flat_map(|plan| &plan.sources);
    if !sources.all(|source| ["kafka", "file"].contains(&source.source.connector())) {
        return Ok(());
    }
    let begun = Instant::now();
    program.start(&["--until", "end"])?.ends_within(DRAIN_WITHIN)?;
    eprintln!("the rest was read in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
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
