//! Creates the topics and registers the schemas of plans, so that they can start.
//!
//! Each call finds done what an earlier one did: it may be made again after a failure.

use crate::connectors::kafka::{NewTopic, SharedTopics};
use crate::faults;
use crate::plan::Plan;
use crate::plan::outline::{Outline, SubjectOutline, TopicOutline, TopicState};
use crate::report::Failure;

/// What [`prepare`] changed, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    CreatedTopic(String),
    RegisteredSubject { subject: String, id: i32 },
}

/// Creates missing topics, then registers the schemas of keys and values; encoders learn the ids.
///
/// # Errors
/// [`Failure`] of the broker's or registry's; an incompatible schema is `registry.incompatible`.
/// What was done before stays done.
pub fn prepare(plans: &[Plan]) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for plan in plans {
        create_topics(&plan.outline, &mut changes)?;
        for subject in &plan.outline.subjects {
            changes.extend(register(subject)?);
        }
    }
    Ok(changes)
}

fn create_topics(outline: &Outline, changes: &mut Vec<Change>) -> Result<(), Failure> {
    for topic in outline.topics.iter().filter(|topic| topic.state == TopicState::Create) {
        if create(topic)? {
            faults::point("sink_topic.created");
            changes.push(Change::CreatedTopic(topic.name.clone()));
        }
    }
    Ok(())
}

fn create(topic: &TopicOutline) -> Result<bool, Failure> {
    SharedTopics::of(&topic.cluster.client()).topics()?.create(&NewTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication: topic.replication,
        config: topic.config.clone(),
    })
}

/// Gives the schema's id to its encoders; says so if the registry did not have it under this subject.
fn register(subject: &SubjectOutline) -> Result<Option<Change>, Failure> {
    let Some(registry) = &subject.registry else {
        let message = format!("the plan of subject `{}` was made without a registry", subject.subject);
        return Err(Failure::bug("deploy.no_registry", message));
    };
    if let Some(registered) = registry.lookup(&subject.subject, &subject.schema)? {
        remember(subject, registered.id)?;
        return Ok(None);
    }
    let id = registry.register(&subject.subject, &subject.schema)?;
    faults::point("subject.registered");
    remember(subject, id)?;
    Ok(Some(Change::RegisteredSubject { subject: subject.subject.clone(), id }))
}

/// Looks up the ids of a plan's schemas, for encoders that only compute again what was written. Changes nothing.
///
/// # Errors
/// `deploy.unknown_subject`: a schema is not registered, so nothing was written by it.
pub fn recall(plan: &Plan) -> Result<(), Failure> {
    for subject in &plan.outline.subjects {
        let found = subject.registry.as_ref().map(|registry| registry.lookup(&subject.subject, &subject.schema));
        match found.transpose()?.flatten() {
            Some(registered) => remember(subject, registered.id)?,
            None => {
                let title = format!("the schema of subject `{}` is not registered", subject.subject);
                return Err(Failure::user("deploy.unknown_subject", title).hint("has this pipeline run?"));
            }
        }
    }
    Ok(())
}

fn remember(subject: &SubjectOutline, id: i32) -> Result<(), Failure> {
    if *subject.id.get_or_init(|| id) == id {
        return Ok(());
    }
    let message = format!("the schema of `{}` has another id than before: the registry was replaced", subject.subject);
    Err(Failure::user("deploy.id_changed", message).hint("start the command again"))
}
