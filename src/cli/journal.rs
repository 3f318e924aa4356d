//! `runner journal show`: a pipeline's journal, for people and programs.

use std::sync::Arc;

use super::Common;
use super::output::{self, Exit, Output, counted, say};
use super::specs::{SpecArgs, plans};
use crate::data::{Epoch, size};
use crate::deploy::open_journal;
use crate::engine::carry::Carried;
use crate::engine::recovery::History;
use crate::engine::snapshots::why_not;
use crate::journal::{EpochRecord, Record};
use crate::plan::resolve::Servers;
use crate::plan::{Plan, RestartPlan};
use crate::report::Failure;
use crate::state::{Shelf, Store};
use crate::time::{Millis, SystemClock};

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print the journal's records, oldest first, and the snapshots beside it. Reads without taking it over.
    Show(Args),
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    specs: SpecArgs,
    /// Only the last records.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    last: usize,
}

pub fn run(verb: Verb, common: &Common) -> Exit {
    let Verb::Show(args) = verb;
    let plans = match plans(&args.specs, &Servers::default(), common.output) {
        Ok(planned) => planned.plans,
        Err(exit) => return exit,
    };
    for plan in &plans {
        let records = open_journal(plan).and_then(|mut journal| Ok((journal.describe(), journal.read()?)));
        let (place, records) = match records {
            Ok(found) => found,
            Err(failure) => return output::failure(&failure, common.output),
        };
        let skipped = records.len().saturating_sub(args.last);
        if common.output == Output::Text {
            say!("{}: {place}, {} records{}", plan.name, records.len(), if skipped > 0 { ", the last:" } else { "" });
        }
        for record in &records[skipped..] {
            match common.output {
                Output::Text => say!("  {}", line(record)),
                json => json.print(&as_json(record)),
            }
        }
        let snapshots = match snapshots(plan, records) {
            Ok(snapshots) => snapshots,
            Err(failure) => return output::failure(&failure, common.output),
        };
        for snapshot in &snapshots {
            match common.output {
                Output::Text => say!("  {}", snapshot.line()),
                json => json.print(&serde_json::json!({ "snapshot": snapshot })),
            }
        }
    }
    Exit::Done
}

/// As it is stored, but with every partition as an object.
fn as_json(record: &Record) -> serde_json::Value {
    let mut json = serde_json::json!(record);
    if let Record::Epoch(epoch) = record {
        json["epoch"]["partitions"] = serde_json::json!(epoch.partitions);
    }
    json
}

fn line(record: &Record) -> String {
    match record {
        Record::Plan(plan) => {
            format!("plan      {} from epoch {}, lineage {}", plan.fingerprint, plan.from_epoch, plan.lineage)
        }
        Record::Owner(owner) => {
            format!("owner     {} pid {}, incarnation {}", owner.host, owner.pid, owner.incarnation)
        }
        Record::Progress { sink, epoch } => format!("progress  sink {sink} has epoch {epoch}"),
        Record::Reached { lineage, epoch } => format!("reached   epoch {epoch} of lineage {lineage}"),
        Record::Epoch(epoch) => epoch_line(epoch),
    }
}

/// A snapshot of the state, and whether a start could begin with it.
#[derive(Debug, serde::Serialize)]
struct Listed {
    /// `None`: its manifest is damaged.
    epoch: Option<Epoch>,
    name: String,
    /// How long ago its epoch was.
    age_ms: Option<Millis>,
    rows: u64,
    bytes: u64,
    /// `None`: it can be used.
    unusable: Option<String>,
}

impl Listed {
    fn line(&self) -> String {
        let Listed { epoch, name, age_ms, rows, bytes, unusable } = self;
        let Some(epoch) = epoch else { return format!("snapshot  `{name}` is damaged, and is not used") };
        let age = age_ms.map_or(String::new(), |age| format!(", {} s old", age / 1_000));
        let (rows, bytes) = (counted(*rows, "row"), size(*bytes as usize));
        let use_of = unusable.as_ref().map_or("usable".to_owned(), |why| format!("not used: {why}"));
        format!("snapshot  of epoch {epoch}{age}, {rows}, {bytes}, {use_of}")
    }
}

/// The snapshots of the journal's lineage, oldest first.
fn snapshots(plan: &Plan, records: Vec<Record>) -> Result<Vec<Listed>, Failure> {
    let history = History::of(records);
    let lineage = history.plan.as_ref().map(|plan| plan.lineage.clone());
    let store = Store::existing(&plan.snapshot_dir())?;
    let Some((store, lineage)) = store.zip(lineage).filter(|_| plan.restart == RestartPlan::Journal) else {
        return Ok(Vec::new());
    };
    let shelf = Shelf::look(Arc::new(store), &plan.namespace, &plan.name)?;
    let carried = Carried::of(&history, &plan.fingerprint, &plan.parts);
    let now = SystemClock::shared().now();
    let found = shelf.list(&lineage)?;
    let whole = found.whole.iter().map(|manifest| {
        let record = history.epochs.get(&manifest.epoch);
        let unusable = match record {
            None => Some("the journal does not hold its epoch".to_owned()),
            Some(_) if !shelf.has_columns(manifest)? => Some("its columns are damaged or gone".to_owned()),
            Some(_) => why_not(plan, &carried.parts.steps, manifest),
        };
        Ok(Listed {
            epoch: Some(manifest.epoch),
            name: manifest.name(),
            age_ms: record.map(|record| (now - record.clock).max(0)),
            rows: manifest.rows,
            bytes: manifest.bytes,
            unusable,
        })
    });
    let damaged = found.damaged.iter().map(|name| {
        let unusable = Some("it is damaged".to_owned());
        Ok(Listed { epoch: None, name: name.clone(), age_ms: None, rows: 0, bytes: 0, unusable })
    });
    whole.chain(damaged).collect()
}

fn epoch_line(epoch: &EpochRecord) -> String {
    let rows: u64 = epoch.partitions.values().flat_map(|ranges| ranges.values()).map(|range| range.read).sum();
    let watermark = epoch.watermark.time().map_or("none".to_owned(), output::time);
    let needed = if epoch.needed > epoch.epoch { String::new() } else { format!(", needs epoch {}", epoch.needed) };
    let ended = if epoch.ended { ", sources ended" } else { "" };
    let continues = epoch.continues.map_or(String::new(), |of| format!(", continues epoch {of}"));
    let more = if epoch.cursor.is_some() { ", more of its output follows" } else { "" };
    let failed = epoch.failed.as_ref().map_or(String::new(), |why| format!(", the run failed behind it: {why}"));
    format!("epoch {:>5}  {rows} rows, watermark {watermark}{needed}{ended}{continues}{more}{failed}", epoch.epoch)
}
