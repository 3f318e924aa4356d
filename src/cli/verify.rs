//! `runner verify`: compares sources with sinks, and says what is lost, doubled or out of order.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use super::Common;
use super::generate::ClusterArgs;
use super::output::{self, Exit, Output};
use super::progress::Progress;
use super::specs::{SpecArgs, ValueArgs, documents, planned, read_until_end};
use super::verdict::Verified;
use crate::connectors::kafka::{Cluster, KafkaSink, Scan, Topics};
use crate::deploy::{open_journal, recall};
use crate::journal::Record;
use crate::plan::Plan;
use crate::plan::resolve::Servers;
use crate::report::{Diagnostics, Failure, to_json};
use crate::spec::Documents;
use crate::verify::{By, Recomputed, Report, Starts, TopicRecords, Wanted, compare, why_not};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Specs whose pipelines' sinks are verified: what their sources hold is computed again.
    #[arg(value_name = "PATH", required_unless_present = "from", conflicts_with = "from")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    values: ValueArgs,
    /// Only this sink; may be repeated.
    #[arg(long = "sink", value_name = "NAME", requires = "paths")]
    sinks: Vec<String>,
    /// Compare two topics, without a spec: this one's records should be in the other, each once.
    #[arg(long, value_name = "TOPIC", requires = "to")]
    from: Option<String>,
    /// The topic where they should be.
    #[arg(long, value_name = "TOPIC", requires = "from")]
    to: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// How sinks are compared.
#[derive(Debug, clap::Args)]
pub struct HowArgs {
    /// How records are recognised: by their headers (`headers: provenance` in the sink), by key and value, by key, or by a
    /// column of JSON: column=NAME. Default: by provenance where the sink writes it (two topics: always), otherwise by content.
    #[arg(long, value_name = "provenance|content|key|column=NAME", value_parser = by)]
    by: Option<By>,
    /// Which order is looked at. partition: records of one source partition stay in order; key: those of one key, and in one
    /// partition; time: timestamps of a partition never go back.
    #[arg(long = "order", value_enum, value_delimiter = ',', default_values_t = [OrderArg::Partition])]
    orders: Vec<OrderArg>,
    /// The pipeline is running: what is behind the last record found may still come.
    #[arg(long)]
    pub live: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OrderArg {
    Partition,
    Key,
    Time,
    None,
}

fn by(text: &str) -> Result<By, String> {
    match (text, text.split_once('=')) {
        ("provenance", _) => Ok(By::Provenance),
        ("content", _) => Ok(By::Content),
        ("key", _) => Ok(By::Key),
        (_, Some(("column", name))) if !name.is_empty() => Ok(By::Column(name.to_owned())),
        _ => Err("not provenance, content, key or column=NAME".into()),
    }
}

impl HowArgs {
    fn wanted(&self, by: By, compacted: bool) -> Wanted {
        let looks = |order| self.orders.contains(&order);
        Wanted {
            by,
            order_by_partition: looks(OrderArg::Partition),
            order_by_key: looks(OrderArg::Key),
            order_by_time: looks(OrderArg::Time),
            compacted,
        }
    }
}

pub fn run(args: Args, common: &Common) -> Exit {
    let Args { paths, values, sinks, from, to, cluster, how } = args;
    let verified = match (from, to) {
        (Some(from), Some(to)) => {
            let report = cluster.cluster().and_then(|cluster| topics(&cluster, &from, &to, &how, common.output));
            let verified = report.map(|report| Verified { reports: vec![report], skipped: Vec::new() });
            verified.map_err(|failure| output::failure(&failure, common.output))
        }
        _ => pipelines(&SpecArgs { paths, values }, &sinks, &how, common.output),
    };
    match verified {
        Ok(verified) => {
            verified.tell(how.live, common.output);
            verified.exit(how.live)
        }
        Err(exit) => exit,
    }
}

fn topics(cluster: &Cluster, from: &str, to: &str, how: &HowArgs, output: Output) -> Result<Report, Failure> {
    // The sink's end first: then nothing is in it that the source has not.
    let mut sink = Scan::open(cluster, to, 0)?;
    let mut expected = TopicRecords::open(cluster, from)?;
    let by = how.by.clone().unwrap_or(By::Provenance);
    let what = format!("topic `{from}` → topic `{to}`, {by}");
    let wanted = how.wanted(by, Topics::connect(cluster)?.limits(to)?.compacted);
    with_progress(output, |share| compare(what, &wanted, &mut expected, &mut sink, share))
}

fn with_progress<T>(output: Output, act: impl FnOnce(&mut dyn FnMut(f64)) -> T) -> T {
    let progress = Progress::share(output == Output::Text);
    act(&mut |share| progress.at((share * 1_000.0) as u64))
}

/// Verifies every sink of the specs that can be judged. What goes wrong is printed.
fn pipelines(specs: &SpecArgs, sinks: &[String], how: &HowArgs, output: Output) -> Result<Verified, Exit> {
    let (documents, found) = documents(specs, output)?;
    let verified = judged(documents, found, sinks, how, output).map_err(|trouble| trouble.tell(output))?;
    if verified.reports.is_empty() {
        let all = verified.skipped.join("; ");
        let failure = match (sinks, all.as_str()) {
            ([], "") => Failure::user("verify.nothing", "the specs declare no sink that can be verified"),
            (_, "") => Failure::user("verify.nothing", format!("the specs declare no sink `{}`", sinks.join("` or `"))),
            _ => Failure::user("verify.nothing", format!("no sink can be verified: {all}")),
        };
        output::failure(&failure, output);
        return Err(Exit::SpecWrong);
    }
    Ok(verified)
}

/// Why nothing could be judged.
pub enum Trouble {
    Spec(Diagnostics),
    Failed(Failure),
}

impl Trouble {
    /// Prints it.
    pub fn tell(&self, output: Output) -> Exit {
        match self {
            Trouble::Spec(found) => {
                output::diagnostics(found, output);
                output::exit_of_spec(found)
            }
            Trouble::Failed(failure) => output::failure(failure, output),
        }
    }

    /// As programs read it, by the name that it has there; and how the command ends.
    pub fn as_json(&self) -> (&'static str, serde_json::Value, Exit) {
        match self {
            Trouble::Spec(found) => ("diagnostics", to_json(found), output::exit_of_spec(found)),
            Trouble::Failed(failure) => ("error", output::failure_json(failure), output::exit_of(failure)),
        }
    }
}

/// Judges every sink of the documents' pipelines that can be judged; `found`: what is wrong with them so far.
pub fn judged(
    mut documents: Documents,
    found: Diagnostics,
    sinks: &[String],
    how: &HowArgs,
    output: Output,
) -> Result<Verified, Trouble> {
    documents.pipelines.iter_mut().for_each(|pipeline| read_until_end(&mut pipeline.spec, false));
    let (plans, warnings) = planned(&documents, found, &Servers::default());
    if warnings.has_errors() {
        return Err(Trouble::Spec(warnings));
    }
    output::diagnostics(&warnings, output);
    let mut verified = Verified::default();
    for plan in plans {
        pipeline(plan, &documents, sinks, how, output, &mut verified).map_err(Trouble::Failed)?;
    }
    Ok(verified)
}

/// The topic of a sink that can be judged.
///
/// # Errors
/// Which sink cannot, and why.
pub fn judgeable(plan: &Plan, index: usize) -> Result<&KafkaSink, String> {
    let sink = &plan.sinks[index];
    let topic = (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>();
    let why = match topic {
        None => Some(format!("it is {}, not kafka", sink.sink.connector())),
        Some(topic) if topic.routes.is_some() => Some("each of its records names its topic itself".to_owned()),
        Some(_) => why_not(plan, index),
    };
    let named = |why| format!("sink `{}` of `{}`: {why}", sink.name, plan.name);
    topic.filter(|_| why.is_none()).ok_or_else(|| named(why.unwrap_or_default()))
}

fn pipeline(
    plan: Plan,
    documents: &Documents,
    only: &[String],
    how: &HowArgs,
    output: Output,
    verified: &mut Verified,
) -> Result<(), Failure> {
    let plan = Arc::new(plan);
    let mut starts = None;
    for (index, sink) in plan.sinks.iter().enumerate() {
        if !only.is_empty() && !only.contains(&sink.name) {
            continue;
        }
        let topic = match judgeable(&plan, index) {
            Ok(topic) => topic,
            Err(why) => {
                verified.skipped.push(why);
                continue;
            }
        };
        let starts = match &starts {
            Some(starts) => starts,
            None => {
                recall(&plan)?;
                starts.insert(journaled_starts(&plan)?)
            }
        };
        let by = how.by.clone().unwrap_or_else(|| default_by(documents, &plan, &sink.name));
        // The sink's end first: then nothing is in it that the source has not.
        let mut scan = Scan::open(&topic.cluster, &topic.topic, 0)?;
        let compacted = Topics::connect(&topic.cluster)?.limits(&topic.topic)?.compacted;
        let mut expected = Recomputed::open(plan.clone(), index, starts)?;
        let what = format!("sink `{}` of `{}`, topic `{}`, {by}", sink.name, plan.name, topic.topic);
        let wanted = how.wanted(by, compacted);
        let report = with_progress(output, |share| compare(what, &wanted, &mut expected, &mut scan, share))?;
        verified.reports.push(report);
    }
    Ok(())
}

/// By provenance where the sink's headers tell it.
fn default_by(documents: &Documents, plan: &Plan, sink: &str) -> By {
    let pipeline = documents
        .pipelines
        .iter()
        .find(|document| document.metadata.name.value == plan.name && document.metadata.namespace == plan.namespace);
    let sink = pipeline.and_then(|pipeline| pipeline.spec.sinks.iter().find(|spec| spec.name.value == sink));
    let has = |name: &str| sink.is_some_and(|sink| sink.headers.iter().any(|(header, _)| header.value == name));
    if has("_partition") && has("_offset") { By::Provenance } else { By::Content }
}

/// Where the pipeline began, if it ever did.
fn journaled_starts(plan: &Plan) -> Result<Starts, Failure> {
    let records = match open_journal(plan)?.read() {
        Err(failure) if failure.code == "kafka.unknown_topic" => Vec::new(),
        read => read?,
    };
    let plans = records.into_iter().filter_map(|record| match record {
        Record::Plan(plan) => Some(plan.starts),
        _ => None,
    });
    Ok(plans.into_iter().next().unwrap_or_default())
}
