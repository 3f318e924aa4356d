//! `runner verify`: compares sources with sinks, and says what is lost, doubled or out of order.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use super::Common;
use super::generate::ClusterArgs;
use super::output::{self, Exit, Output, say};
use super::progress::Progress;
use super::specs::{SpecArgs, ValueArgs, documents, planned, read_until_end};
use crate::connectors::kafka::{Cluster, KafkaSink, Scan, Topics};
use crate::deploy::{open_journal, recall};
use crate::journal::Record;
use crate::plan::Plan;
use crate::plan::resolve::Servers;
use crate::report::Failure;
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

/// What came of it.
#[derive(Default)]
pub struct Verified {
    reports: Vec<Report>,
    /// Sinks that cannot be judged, and why.
    skipped: Vec<String>,
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
            if verified.is_clean(how.live) { Exit::Done } else { Exit::AnswerIsNo }
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
pub fn pipelines(specs: &SpecArgs, sinks: &[String], how: &HowArgs, output: Output) -> Result<Verified, Exit> {
    let (mut documents, found) = documents(specs, output)?;
    documents.pipelines.iter_mut().for_each(|pipeline| read_until_end(&mut pipeline.spec, false));
    let (plans, warnings) = planned(&documents, found, &Servers::default());
    if let Some(exit) = output::diagnostics(&warnings, output) {
        return Err(exit);
    }
    let mut verified = Verified::default();
    for plan in plans {
        let done = pipeline(plan, &documents, sinks, how, output, &mut verified);
        done.map_err(|failure| output::failure(&failure, output))?;
    }
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
        let name = format!("sink `{}` of `{}`", sink.name, plan.name);
        let topic = (&*sink.sink as &dyn Any).downcast_ref::<KafkaSink>();
        let why = topic
            .is_none()
            .then(|| format!("it is {}, not kafka", sink.sink.connector()))
            .or_else(|| topic?.routes.as_ref().map(|_| "each of its records names its topic itself".to_owned()))
            .or_else(|| why_not(&plan, index));
        let (Some(topic), None) = (topic, &why) else {
            verified.skipped.push(format!("{name}: {}", why.unwrap_or_default()));
            continue;
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
        let what = format!("{name}, topic `{}`, {by}", topic.topic);
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

impl Verified {
    pub fn is_clean(&self, live: bool) -> bool {
        self.reports.iter().all(|report| report.is_clean(live))
    }

    pub fn as_json(&self, live: bool) -> serde_json::Value {
        serde_json::json!({ "clean": self.is_clean(live), "reports": self.reports, "not_verified": self.skipped })
    }

    pub fn tell(&self, live: bool, output: Output) {
        if output.is_json() {
            return output.print(&self.as_json(live));
        }
        self.reports.iter().for_each(|report| print(report, live));
        self.skipped.iter().for_each(|skipped| say!("not verified: {skipped}"));
    }
}

fn print(report: &Report, live: bool) {
    let Report { what, read, expected, found, seconds, compacted, gone, .. } = report;
    say!("{what}");
    let per_second = (read + found) as f64 / seconds.max(1e-9);
    say!("  {read} records read, {expected} expected, {found} found; {seconds:.1} s, {per_second:.0} records a second");
    if *compacted > 0 {
        say!("  {compacted} were replaced by later ones of their key: the topic is compacted");
    }
    if *gone > 0 {
        say!("  {gone} are of records that the source no longer has");
    }
    if live && report.behind.count > 0 {
        say!("  {} are still to come", report.behind.count);
    }
    let findings = report.findings(live);
    for (name, finding) in &findings {
        say!("  {name}: {}", finding.count);
        finding.examples.iter().for_each(|example| say!("    {example}"));
        if finding.count > finding.examples.len() as u64 {
            say!("    …");
        }
    }
    if findings.is_empty() {
        say!("  clean: nothing is lost, doubled or out of order");
    }
}
