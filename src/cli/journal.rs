//! `runner journal show`: a pipeline's journal, for people and programs.

use super::Common;
use super::output::{self, Exit, Output, say};
use super::specs::{SpecArgs, plans};
use crate::deploy::open_journal;
use crate::journal::{EpochRecord, Record};
use crate::plan::resolve::Servers;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print the journal's records, oldest first. Reads without taking it over.
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

fn epoch_line(epoch: &EpochRecord) -> String {
    let rows: u64 = epoch.partitions.values().flat_map(|ranges| ranges.values()).map(|range| range.read).sum();
    let watermark = epoch.watermark.time().map_or("none".to_owned(), output::time);
    let needed = if epoch.needed > epoch.epoch { String::new() } else { format!(", needs epoch {}", epoch.needed) };
    let ended = if epoch.ended { ", sources ended" } else { "" };
    let continues = epoch.continues.map_or(String::new(), |of| format!(", continues epoch {of}"));
    let more = if epoch.cursor.is_some() { ", more of its output follows" } else { "" };
    format!("epoch {:>5}  {rows} rows, watermark {watermark}{needed}{ended}{continues}{more}", epoch.epoch)
}
