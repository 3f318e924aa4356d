//! What a pipeline writes to, sinks and journal: is each topic still the one that it was?
//!
//! A topic that was deleted and made again lacks what was written to it, though the journal counts that as written: only its
//! id tells. The journal has the ids of sinks' topics as of sources' (I17). While a pipeline runs they are looked at now and then.

use std::collections::BTreeMap;
use std::time::Instant;

use super::recovery::History;
use crate::connectors::Look;
use crate::journal::Watch;
use crate::plan::{Plan, SinkPlan};
use crate::report::Failure;

/// By sink, then topic.
pub type TopicIds = BTreeMap<String, BTreeMap<String, String>>;

/// The topics of a pipeline's sinks as they were when it was started.
#[derive(Debug, Default)]
pub struct Targets {
    known: TopicIds,
    /// Sink and topic that were not there at the last look, and when that was. A broker that has just come up may not
    /// know all topics yet.
    missing: BTreeMap<(String, String), Instant>,
    journal: Option<Box<dyn Watch>>,
    /// What others saw before this was asked is of topics that may have been made anew since.
    since: Option<Instant>,
}

impl Targets {
    /// Asks the sinks, all of them at once: each may be a few round trips away.
    ///
    /// # Errors
    /// Whatever breaks while servers are asked.
    pub fn ask(plan: &Plan, journal: Option<Box<dyn Watch>>) -> Result<Targets, Failure> {
        let since = Some(Instant::now());
        let ids = each_sink(plan, |sink| sink.sink.topic_ids())?;
        Ok(Targets { known: of_names(plan, ids), missing: BTreeMap::new(), journal, since })
    }

    /// I12: what the journal counts as written must be there.
    ///
    /// # Errors
    /// `refused.sink_replaced`.
    pub fn refuse_replaced(&self, history: &History) -> Result<(), Failure> {
        let Some(plan) = &history.plan else { return Ok(()) };
        for (sink, topic, now) in each(&self.known) {
            if let Some(before) = plan.topic_ids.get(sink).and_then(|ids| ids.get(topic)).filter(|id| *id != now) {
                let title = format!(
                    "topic `{topic}`, which `{sink}` writes, was deleted and made again: its id was `{before}`, and is `{now}`; what was written up to epoch {} is gone from it",
                    history.last()
                );
                return Err(Failure::user("refused.sink_replaced", title).hint(
                    "start over with `--fresh`, which reads the sources from their `start` again and writes to every sink behind what is there; \
                     or give the sink another name: a sink that is new gets what comes from now on, and the others go on as they were",
                ));
            }
        }
        Ok(())
    }

    pub fn ids(&self) -> &TopicIds {
        &self.known
    }

    /// True if there is anything to look at.
    pub fn are_watched(&self) -> bool {
        !self.known.is_empty() || self.journal.is_some()
    }

    /// Asks again.
    ///
    /// # Errors
    /// `refused.journal_gone`, `sink.replaced`, `sink.deleted`; or a server does not answer.
    pub fn look(&mut self, plan: &Plan) -> Result<(), Failure> {
        if let Some(journal) = &mut self.journal {
            journal.look()?;
        }
        let looks = each_sink(plan, |sink| sink.sink.look())?;
        let names = plan.sinks.iter().map(|sink| sink.name.clone());
        self.compare(&names.zip(looks).collect())
    }

    /// The same by what others have just seen, without waiting. False: nobody has seen it all.
    ///
    /// # Errors
    /// As [`Targets::look`].
    pub fn look_at_seen(&mut self, plan: &Plan) -> Result<bool, Failure> {
        if self.journal.is_some() {
            return Ok(false);
        }
        let watched = plan.sinks.iter().filter(|sink| self.known.contains_key(&sink.name));
        let seen = watched.map(|sink| Some((sink.name.clone(), sink.sink.seen()?)));
        let Some(seen) = seen.collect::<Option<BTreeMap<_, _>>>() else { return Ok(false) };
        self.compare(&seen).map(|()| true)
    }

    /// `now`: by sink.
    fn compare(&mut self, now: &BTreeMap<String, Look>) -> Result<(), Failure> {
        let mut missing = BTreeMap::new();
        for (sink, topic, before) in each(&self.known) {
            let Some(look) = now.get(sink).filter(|look| self.since.is_none_or(|since| look.at >= since)) else {
                continue;
            };
            match look.ids.get(topic) {
                Some(now) if now == before => {}
                Some(now) => return Err(replaced(sink, topic, before, now)),
                None => {
                    let place = (sink.clone(), topic.clone());
                    // What was seen once may be shown twice.
                    if self.missing.get(&place).is_some_and(|at| *at != look.at) {
                        return Err(deleted(sink, topic));
                    }
                    missing.insert(place, look.at);
                }
            }
        }
        self.missing = missing;
        Ok(())
    }
}

/// Asks every sink, several each in a thread of its own.
///
/// # Errors
/// The first sink's that fails.
pub(super) fn each_sink<T: Send>(
    plan: &Plan,
    ask: impl Fn(&SinkPlan) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    if let [sink] = plan.sinks.as_slice() {
        return Ok(vec![ask(sink)?]);
    }
    let panicked = |_| Err(Failure::bug("sink.panic", "a sink panicked when it was asked"));
    std::thread::scope(|scope| {
        let asking: Vec<_> = plan.sinks.iter().map(|sink| scope.spawn(|| ask(sink))).collect();
        asking.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    })
}

fn of_names(plan: &Plan, ids: Vec<BTreeMap<String, String>>) -> TopicIds {
    let names = plan.sinks.iter().map(|sink| sink.name.clone());
    names.zip(ids).filter(|(_, ids)| !ids.is_empty()).collect()
}

/// Sink, topic, id.
fn each(ids: &TopicIds) -> impl Iterator<Item = (&String, &String, &String)> {
    ids.iter().flat_map(|(sink, ids)| ids.iter().map(move |(topic, id)| (sink, topic, id)))
}

fn replaced(sink: &str, topic: &str, before: &str, now: &str) -> Failure {
    let title = format!(
        "topic `{topic}` was deleted and made again while `{sink}` wrote it: its id was `{before}`, and is `{now}`"
    );
    Failure::outside("sink.replaced", title)
        .hint("what was written before is gone, and some of what came since may be: a new start says what can be done")
        .no_retry()
}

fn deleted(sink: &str, topic: &str) -> Failure {
    Failure::outside("sink.deleted", format!("topic `{topic}` was deleted while `{sink}` wrote it"))
        .hint(
            "what was written is gone: take the sink out of the pipeline, or start again, which says what can be done",
        )
        .no_retry()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ids(ids: &[(&str, &str)]) -> TopicIds {
        let of = |(topic, id): &(&str, &str)| ((*topic).to_owned(), (*id).to_owned());
        BTreeMap::from([("out".to_owned(), ids.iter().map(of).collect())])
    }

    fn known() -> Targets {
        Targets { known: ids(&[("t", "a")]), ..Targets::default() }
    }

    fn seen(ids: &[(&str, &str)], at: Instant) -> BTreeMap<String, Look> {
        let of = |(topic, id): &(&str, &str)| ((*topic).to_owned(), (*id).to_owned());
        BTreeMap::from([("out".to_owned(), Look { ids: ids.iter().map(of).collect(), at })])
    }

    #[test]
    fn i12_a_sinks_topic_of_another_id_is_another_topic() {
        let now = Instant::now();
        assert!(known().compare(&seen(&[("t", "a"), ("u", "b")], now)).is_ok());
        let failure = known().compare(&seen(&[("t", "b")], now)).unwrap_err();
        assert!(failure.code == "sink.replaced" && failure.to_string().contains("`a`, and is `b`"), "{failure}");
    }

    #[test]
    fn a_sinks_topic_is_deleted_when_it_is_missing_twice_in_a_row() {
        let (mut targets, mut now) = (known(), Instant::now());
        for there in [true, false, true, false] {
            now += Duration::from_secs(10);
            let ids: &[_] = if there { &[("t", "a")] } else { &[] };
            assert!(targets.compare(&seen(ids, now)).is_ok());
        }
        assert!(targets.compare(&seen(&[], now)).is_ok(), "the same look, which several share");
        let later = now + Duration::from_secs(10);
        assert_eq!(targets.compare(&seen(&[], later)).unwrap_err().code, "sink.deleted");
    }
}
