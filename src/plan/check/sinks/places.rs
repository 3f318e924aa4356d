//! Where the journal is, and where the progress of each Kafka sink stands.
//!
//! The journal lives with the first exactly-once Kafka sink by name, on its cluster, or else with the first Kafka sink (I9). Once it is there it
//! stays: a sink with an earlier name that is added on another cluster does not move it, and where nothing is
//! left that could hold it, the start is refused. Every further cluster has a transaction and a progress of its own.
//! A sink that asks for at least once joins the transaction of others on its cluster; alone it has none.

use std::collections::BTreeSet;

use super::*;
use crate::connectors::kafka::{Further, Written};

const ALONE: &str = "at least once (the journal notes its progress after delivery)";

/// Decides for all sinks of a pipeline.
pub(in crate::plan::check) fn settle(
    scope: &Scope,
    drafts: Vec<&mut SinkDraft>,
    out: &mut Diagnostics,
) -> Option<JournalPlace> {
    let mut drafts: Vec<&mut SinkDraft> = drafts.into_iter().filter(|draft| draft.kafka.is_some()).collect();
    drafts.sort_by(|a, b| a.spec.name.value.cmp(&b.spec.name.value));
    let exact: Vec<Cluster> = clusters(drafts.iter().filter(|draft| !draft.at_least_once()));
    let all = clusters(drafts.iter());
    if all.is_empty() {
        return Some(JournalPlace::File(scope.state_dir.join("journal")));
    }
    let names = Names::of(scope);
    if let Some(wanted) =
        scope.pipeline.spec.state.journal.as_ref().filter(|journal| journal.value == JournalSpec::File)
    {
        return in_file(scope, &names, drafts, &all, wanted, out);
    }
    let candidates = if exact.is_empty() { &all } else { &exact };
    let (home, elsewhere) = home(scope, &names, candidates, &all, out)?;
    for draft in drafts {
        draft.settle(&names, &home, &exact);
    }
    Some(JournalPlace::Kafka {
        cluster: home,
        topic: names.journal(),
        transactional_id: names.transactional_id(),
        at_least_once: exact.is_empty(),
        elsewhere,
    })
}

/// The journal in the state directory although there are Kafka sinks: they are at least once.
fn in_file(
    scope: &Scope,
    names: &Names,
    drafts: Vec<&mut SinkDraft>,
    all: &[Cluster],
    wanted: &Spanned<JournalSpec>,
    out: &mut Diagnostics,
) -> Option<JournalPlace> {
    for exact in drafts.iter().filter(|draft| !draft.at_least_once()) {
        let title = format!("`{}` is exactly once, and a journal in a file cannot make it so", exact.spec.name.value);
        out.push(
            Diagnostic::error("state.journal", title)
                .at(&wanted.place)
                .hint("add `delivery: at_least_once` to the sink, or leave the journal on Kafka"),
        );
    }
    if drafts.iter().any(|draft| !draft.at_least_once()) {
        return None;
    }
    for cluster in all {
        if exists(scope, cluster, &names.journal(), out)? {
            let title = format!("this pipeline has a journal in the topic `{}`", names.journal());
            let hint = "delete the topic if the pipeline may begin anew, or leave `state.journal` away";
            out.push(Diagnostic::error("sinks.two_journals", title).at(&wanted.place).hint(hint));
            return None;
        }
    }
    drafts.into_iter().for_each(SinkDraft::settle_alone);
    Some(JournalPlace::File(scope.state_dir.join("journal")))
}

/// Whether a topic is there; `None` after a complaint.
fn exists(scope: &Scope, cluster: &Cluster, topic: &str, out: &mut Diagnostics) -> Option<bool> {
    match scope.world.topic(cluster, topic) {
        Ok(Answer::Known(found)) => Some(found.is_some()),
        Ok(Answer::NotAsked) => Some(false),
        Err(failure) => {
            out.push(of_failure(failure, &scope.pipeline.place));
            None
        }
    }
}

/// Each once, in the order of the sinks.
fn clusters<'d, 's: 'd>(drafts: impl Iterator<Item = &'d &'d mut SinkDraft<'s>>) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for (cluster, _) in drafts.filter_map(|draft| draft.kafka.as_ref()) {
        if !clusters.iter().any(|known| same(known, cluster)) {
            clusters.push(cluster.clone());
        }
    }
    clusters
}

/// One cluster under one user; what two connections reach with different settings is written apart.
fn same(one: &Cluster, other: &Cluster) -> bool {
    let brokers = |cluster: &Cluster| cluster.brokers.split(',').map(|b| b.trim().to_owned()).collect::<BTreeSet<_>>();
    brokers(one) == brokers(other) && one.properties == other.properties
}

/// The cluster of the journal, and where another one is or was.
fn home(
    scope: &Scope,
    names: &Names,
    candidates: &[Cluster],
    all: &[Cluster],
    out: &mut Diagnostics,
) -> Option<(Cluster, Option<String>)> {
    let mut holding = Vec::new();
    for cluster in all {
        if exists(scope, cluster, &names.journal(), out)? {
            holding.push(cluster);
        }
    }
    if let [one, other, ..] = holding[..] {
        // One of them is over, and taking it up would write everything behind it again.
        let title = format!(
            "this pipeline has a journal on the cluster of `{}` and another on that of `{}`",
            one.connection, other.connection
        );
        let hint = format!("delete the topic `{}` on the one where it is over", names.journal());
        out.push(Diagnostic::error("sinks.two_journals", title).at(&scope.pipeline.place).hint(hint));
        return None;
    }
    let home = candidates.iter().find(|candidate| holding.iter().any(|holding| same(holding, candidate)));
    let home = home.or(candidates.first())?.clone();
    if let Some(other) = holding.into_iter().find(|holding| !same(holding, &home)) {
        return Some((home, Some(format!("on the cluster of connection `{}`", other.connection))));
    }
    // It was a further cluster once: the journal was on one that no sink writes any more.
    let was_further = exists(scope, &home, &names.progress(&home), out)?;
    Some((home, was_further.then(|| "on a cluster that no sink writes now".to_owned())))
}

/// The names of what a pipeline keeps in Kafka.
struct Names(String);

impl Names {
    fn of(scope: &Scope) -> Names {
        let metadata = &scope.pipeline.metadata;
        Names(format!("runner.{}.{}", metadata.namespace, metadata.name.value))
    }

    fn journal(&self) -> String {
        format!("{}.journal", self.0)
    }

    fn transactional_id(&self) -> String {
        format!("{}.0", self.0)
    }

    /// By connection, because that is what a user gives a cluster as its name.
    fn progress(&self, cluster: &Cluster) -> String {
        format!("{}.progress.{}", self.0, cluster.connection)
    }

    fn further(&self, cluster: &Cluster) -> Further {
        let transactional_id = format!("{}.{}", self.transactional_id(), cluster.connection);
        Further { transactional_id, progress: self.progress(cluster) }
    }
}

impl SinkDraft<'_> {
    fn at_least_once(&self) -> bool {
        is_at_least_once(self.spec)
    }

    /// No journal on any cluster.
    fn settle_alone(&mut self) {
        let Some((_, sink)) = &self.kafka else { return };
        self.outline.guarantee = ALONE.into();
        self.sink = Arc::new(kafka::KafkaSink { written: Written::Alone, ..sink.clone() });
    }

    /// `exact`: clusters with exactly-once sinks.
    fn settle(&mut self, names: &Names, home: &Cluster, exact: &[Cluster]) {
        let Some((cluster, sink)) = &self.kafka else { return };
        let has_transactions = exact.iter().any(|exact| same(exact, cluster));
        let written = match (same(cluster, home), has_transactions) {
            (true, _) => Written::WithJournal,
            (false, true) => Written::Further(names.further(cluster)),
            (false, false) => Written::Alone,
        };
        self.outline.guarantee = match &written {
            Written::WithJournal if exact.is_empty() => {
                "at least once (delivered before the journal has the epoch)".into()
            }
            Written::Alone => ALONE.into(),
            _ if self.at_least_once() => {
                "exactly once, more than it asks for (it joins the transaction of its cluster's other sinks)".into()
            }
            Written::WithJournal => guarantee(Delivery::Transaction).into(),
            Written::Further(further) => format!(
                "exactly once (in a transaction of its own on `{}`; progress in topic `{}` there)",
                cluster.connection, further.progress
            ),
        };
        self.sink = Arc::new(kafka::KafkaSink { written, ..sink.clone() });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::build;
    use crate::plan::resolve::{Offline, Registries, TopicInfo, World};
    use crate::report::Failure;
    use crate::spec::{RegistryConnection, Secret, Values, load_text};

    /// Brokers on which there is a journal.
    #[derive(Debug)]
    struct Journals(&'static [&'static str]);

    impl World for Journals {
        fn fill(&self, text: &Secret) -> Result<String, Failure> {
            Offline.fill(text)
        }

        fn registry(&self, name: &str, registry: &RegistryConnection, folder: &Path) -> Result<Registries, Failure> {
            Offline.registry(name, registry, folder)
        }

        fn topic(&self, cluster: &Cluster, topic: &str) -> Result<Answer<Option<TopicInfo>>, Failure> {
            let is_there = topic.ends_with(".journal") && self.0.contains(&cluster.brokers.as_str());
            Ok(Answer::Known(is_there.then_some(TopicInfo {
                partitions: 1,
                retention_ms: None,
                compacted: false,
                log_append_time: false,
                message_bytes_max: None,
            })))
        }
    }

    #[test]
    fn of_two_journals_none_is_taken_up() {
        let spec = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: p }\nspec:
  connections: { near: { kafka: { brokers: near } }, far: { kafka: { brokers: far } } }
  sources: { ratings: { datagen: { columns: { brand: string } } } }
  sinks:
    a: { from: ratings, kafka: { topic: a }, connection: near, format: json }
    b: { from: ratings, kafka: { topic: b }, connection: far, format: json }\n";
        let codes_of = |spec: &str, journals| {
            let (documents, _) = load_text("p.yaml", spec, &Values::default());
            let (_, found) = build(&documents, Path::new(""), &Journals(journals));
            found.0.iter().map(|found| found.code).collect::<Vec<_>>()
        };
        let codes = |journals| codes_of(spec, journals);
        assert_eq!(codes(&["far"]), [] as [&str; 0]);
        assert_eq!(codes(&["near", "far"]), ["sinks.two_journals"]);
        // One in a file would begin anew beside it.
        let in_file =
            spec.replace("format: json", "format: json, delivery: at_least_once") + "  state: { journal: file }\n";
        assert_eq!(codes_of(&in_file, &[]), [] as [&str; 0]);
        assert_eq!(codes_of(&in_file, &["far"]), ["sinks.two_journals"]);
    }
}
