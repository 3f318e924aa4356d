//! What of a changed plan goes on. Pure: the journal's newest plan and this one in, what each part begins with out.
//!
//! A part (source, step that keeps state, sink) has a fingerprint of all that leads to it, and the first epoch that it took
//! part in as it is. What has the same name and fingerprint as before goes on and keeps that epoch; everything else begins
//! with the next one, and without state. Epochs before are replayed without it: it is as if it had been added while the
//! pipeline ran. So it makes no difference when a run dies between noting the plan and its first epoch, and the rows of
//! an epoch are never made by another plan than the one that committed it (I14).

use std::collections::{BTreeMap, BTreeSet};

use super::recovery::History;
use crate::data::Epoch;
use crate::journal::{self, Part, PlanRecord};
use crate::plan;

/// What of the journal's plan goes on in this one.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    pub parts: journal::Parts,
    /// What becomes of every step with state, by name: of those that are there, and of those that were.
    pub steps: BTreeMap<String, Fate>,
    /// Sinks that were there before, and are given something else now.
    pub other_sinks: BTreeSet<String>,
    /// The journal does not say of what the steps were made that have its state.
    pub is_unknown: bool,
}

/// What becomes of a step's state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Fate {
    Kept {
        since: Epoch,
    },
    /// There was none of that name.
    New,
    Lost {
        why: String,
    },
}

impl Carried {
    /// Holds this plan against the journal's newest.
    pub fn of(history: &History, fingerprint: &str, now: &plan::Parts) -> Carried {
        let next = history.last() + 1;
        let Some(before) = &history.plan else {
            return Carried {
                parts: anew(now, next),
                steps: now.steps.keys().map(|name| (name.clone(), Fate::New)).collect(),
                other_sinks: BTreeSet::new(),
                is_unknown: false,
            };
        };
        let is_same = before.fingerprint == fingerprint;
        let was = match &before.parts {
            Some(parts) => parts.clone(),
            // What an earlier version wrote, which had refused all other plans.
            None if is_same => anew(now, 1),
            None => journal::Parts::default(),
        };
        let carry = |now: &BTreeMap<String, String>, was: &BTreeMap<String, Part>| {
            let of = |(name, fingerprint): (&String, &String)| {
                let same = was.get(name).filter(|part| part.fingerprint == *fingerprint);
                let since = same.map_or(next, |part| part.since);
                (name.clone(), Part { fingerprint: fingerprint.clone(), since })
            };
            now.iter().map(of).collect::<BTreeMap<_, _>>()
        };
        let parts = journal::Parts {
            own: now.own.clone(),
            sources: carry(&now.sources, &was.sources),
            steps: carry(&step_fingerprints(now), &was.steps),
            sinks: carry(&now.sinks, &was.sinks),
        };
        let is_other = |name: &&String| match before.parts {
            Some(_) => was.sinks.contains_key(*name) && parts.sinks[*name].fingerprint != was.sinks[*name].fingerprint,
            None => !is_same && before.sinks.contains_key(*name),
        };
        Carried {
            steps: fates(now, &parts, &was, next),
            other_sinks: parts.sinks.keys().filter(is_other).cloned().collect(),
            is_unknown: before.parts.is_none() && !is_same,
            parts,
        }
    }

    /// True if the state of a step goes on that has taken part in an epoch.
    pub fn keeps_state(&self) -> bool {
        self.steps.values().any(|fate| matches!(fate, Fate::Kept { .. }))
    }

    /// Steps whose state is given up, and why.
    pub fn lost(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().filter_map(|(name, fate)| match fate {
            Fate::Lost { why } => Some((name.as_str(), why.as_str())),
            Fate::Kept { .. } | Fate::New => None,
        })
    }

    /// True if the journal's newest plan says otherwise.
    pub fn differs(&self, before: &PlanRecord) -> bool {
        before.parts.as_ref() != Some(&self.parts)
    }
}

/// All begins with this epoch.
pub fn anew(parts: &plan::Parts, since: Epoch) -> journal::Parts {
    let begin = |of: &BTreeMap<String, String>| {
        let part = |fingerprint: &String| Part { fingerprint: fingerprint.clone(), since };
        of.iter().map(|(name, fingerprint)| (name.clone(), part(fingerprint))).collect()
    };
    journal::Parts {
        own: parts.own.clone(),
        sources: begin(&parts.sources),
        steps: begin(&step_fingerprints(parts)),
        sinks: begin(&parts.sinks),
    }
}

fn step_fingerprints(parts: &plan::Parts) -> BTreeMap<String, String> {
    parts.steps.iter().map(|(name, step)| (name.clone(), step.fingerprint.clone())).collect()
}

fn fates(now: &plan::Parts, parts: &journal::Parts, was: &journal::Parts, next: Epoch) -> BTreeMap<String, Fate> {
    let of = |(name, part): (&String, &Part)| {
        // What was noted and has seen no epoch has nothing to lose.
        let had_state = was.steps.get(name).is_some_and(|was| was.since < next);
        let fate = match part.since < next {
            true => Fate::Kept { since: part.since },
            false if had_state => Fate::Lost { why: what_changed(&now.steps[name].made_of, now, was, name) },
            false => Fate::New,
        };
        (name.clone(), fate)
    };
    let gone = was.steps.iter().filter(|(name, was)| was.since < next && !parts.steps.contains_key(*name));
    let gone = gone.map(|(name, _)| {
        let why = match now.own.contains_key(name) {
            true => "it keeps no state any more",
            false => "the spec has it no more, or no sink reads it",
        };
        (name.clone(), Fate::Lost { why: why.to_owned() })
    });
    parts.steps.iter().map(of).chain(gone).collect()
}

/// What of the things that lead to a step is not what it was.
fn what_changed(made_of: &[String], now: &plan::Parts, was: &journal::Parts, step: &str) -> String {
    let is_other = |name: &&String| match now.sources.get(*name) {
        Some(fingerprint) => was.sources.get(*name).is_none_or(|was| was.fingerprint != *fingerprint),
        None => was.own.get(*name) != now.own.get(*name),
    };
    let mut others: Vec<&String> = made_of.iter().filter(is_other).collect();
    others.sort_by_key(|name| *name != step);
    match &*others {
        [] => "the columns that it keeps have changed".to_owned(),
        [only] if *only == step => "it has changed itself".to_owned(),
        [first, ..] if *first == step => "it has changed itself, and so has what leads to it".to_owned(),
        others => {
            let names: Vec<String> = others.iter().map(|name| format!("`{name}`")).collect();
            let (names, have) = (names.join(", "), if others.len() == 1 { "has" } else { "have" });
            format!("{names}, which it is made of, {have} changed")
        }
    }
}
