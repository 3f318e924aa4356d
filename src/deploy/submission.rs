//! What is handed to a server: the texts of specs, and the values that their tags ask for.
//!
//! Texts stay as they were written, so that errors name the places of the user's own files. Secrets
//! (`${secret:…}`) are not filled in here: that is done when the pipeline starts, on the server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::connect::{Worker, expand};
use crate::plan::resolve::{Offline, World};
use crate::plan::{Plan, build_in, with_producers};
use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{self, Document, Documents, FailAs, PipelineSpec, Values, Verb};

/// A pipeline's name and namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "default" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// Texts of specs with everything that they need.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    pub files: Vec<SpecFile>,
    /// For `{{ values.NAME }}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub values: Map<String, Json>,
    /// For `{{ env.NAME }}`: of whoever submits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl std::fmt::Debug for Submission {
    /// Names only: texts and values may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.files.iter().map(|file| &file.name)).finish()
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecFile {
    /// Its path: relative paths in the text begin at its folder, on the server.
    pub name: String,
    pub text: String,
}

impl Submission {
    /// A single text.
    pub fn of_text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Submission { files: vec![SpecFile { name: name.into(), text: text.into() }], ..Submission::default() }
    }

    /// Files that were read, with those values that they ask for.
    pub fn of_files(files: Vec<SpecFile>, values: Values) -> Self {
        let asks = |name: &str| {
            let ways = [format!("env.{name}"), format!("env['{name}']"), format!("env[\"{name}\"]")];
            files.iter().any(|file| ways.iter().any(|way| file.text.contains(way)))
        };
        let env = values.env.into_iter().filter(|(name, _)| asks(name)).collect();
        Submission { env, values: values.values, files }
    }

    /// Its documents.
    pub fn documents(&self) -> (Documents, Diagnostics) {
        let (mut documents, mut found) = self.as_written();
        found.0.extend(expand(&mut documents, &Worker::default()).0);
        (documents, found)
    }

    fn as_written(&self) -> (Documents, Diagnostics) {
        let values = Values { env: self.env.clone(), values: self.values.clone() };
        let files = self.files.iter().map(|file| (file.name.as_str(), file.text.as_str()));
        spec::load_texts(files, &values)
    }

    /// Whether a connector of this name stands in it, as a document.
    pub fn has_connector(&self, name: &str) -> bool {
        self.as_written().0.connectors.iter().any(|connector| connector.metadata.name.value == name)
    }

    /// Its pipelines, each with that part of the submission which it needs, if nothing is wrong that can be found
    /// without servers. A pipeline needs those whose topics it reads, and every document of another kind.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn parts(&self, states: &Path) -> Result<Vec<(Name, Submission)>, Diagnostics> {
        let (documents, _) = self.checked(states)?;
        let shared = shared_files(&documents);
        let needed = with_producers(&documents).into_iter().zip(&documents.pipelines).map(|(needed, pipeline)| {
            let mut names = shared.clone();
            names.extend(needed.into_iter().map(|index| documents.pipelines[index].place.file.name.as_str()));
            let files = self.files.iter().filter(|file| names.contains(file.name.as_str())).cloned().collect();
            (name_of(pipeline), Submission { files, ..self.clone() })
        });
        Ok(needed.collect())
    }

    /// The plan of one of its pipelines, if nothing is wrong with any that can be found without servers.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn checked_plan(&self, name: &Name, states: &Path) -> Result<Plan, Diagnostics> {
        let (_, plans) = self.checked(states)?;
        plan_of(name, plans).map(|(_, plan)| plan).ok_or_else(|| Diagnostics(vec![not_in_it(name)]))
    }

    fn checked(&self, states: &Path) -> Result<(Documents, Vec<Plan>), Diagnostics> {
        let (documents, mut found) = self.documents();
        found.0.extend(deadly(&documents));
        let mut plans = Vec::new();
        // Follow-on mistakes of a document that could not be read would only confuse.
        if !documents.lost {
            let (built, planning) = build_in(&documents, states, &Offline);
            found.0.extend(planning.0);
            plans = built;
        }
        if !found.has_errors() && documents.pipelines.is_empty() {
            found.push(Diagnostic::error("submission.empty", "there is no `kind: Pipeline` in it"));
        }
        if found.has_errors() { Err(found) } else { Ok((documents, plans)) }
    }

    /// The plan of one of its pipelines, and before it the plans of those whose output it reads: what they write
    /// must be there.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn plans(&self, name: &Name, states: &Path, world: &dyn World) -> Result<(Vec<Plan>, Plan), Diagnostics> {
        let (mut documents, mut found) = self.documents();
        // It may have been submitted to an earlier version.
        let deadly = deadly(&documents);
        if !deadly.is_empty() {
            return Err(Diagnostics(deadly));
        }
        let Some(index) = documents.pipelines.iter().position(|pipeline| name_of(pipeline) == *name) else {
            found.push(not_in_it(name));
            return Err(found);
        };
        let needed = with_producers(&documents).swap_remove(index);
        let mut indexes = 0..;
        documents.pipelines.retain(|_| indexes.next().is_some_and(|index| needed.contains(&index)));
        let (plans, planning) = build_in(&documents, states, world);
        plan_of(name, plans).ok_or_else(|| {
            found.0.extend(planning.0);
            found
        })
    }
}

/// The plan of this name, and the others.
fn plan_of(name: &Name, mut plans: Vec<Plan>) -> Option<(Vec<Plan>, Plan)> {
    let own = plans.iter().position(|plan| plan.namespace == name.namespace && plan.name == name.name)?;
    let plan = plans.remove(own);
    Some((plans, plan))
}

fn not_in_it(name: &Name) -> Diagnostic {
    Diagnostic::error("submission.other_name", format!("there is no pipeline `{name}` in it"))
}

/// What would end the whole server, and not only its own pipeline.
fn deadly(documents: &Documents) -> Vec<Diagnostic> {
    let transforms = documents.pipelines.iter().flat_map(|pipeline| &pipeline.spec.transforms);
    let refused = transforms.filter_map(|transform| match &transform.verb {
        Verb::Fail(fail) if fail.how == FailAs::Kill => {
            let title =
                format!("`{}` kills its process, which is the server and all that runs in it", transform.name.value);
            let refused = Diagnostic::error("submission.kills_server", title).at(&fail.place);
            Some(refused.hint("`as: panic` ends this pipeline alone; or run it by itself, with `runner apply`"))
        }
        _ => None,
    });
    refused.collect()
}

fn name_of(pipeline: &Document<PipelineSpec>) -> Name {
    Name { namespace: pipeline.metadata.namespace.clone(), name: pipeline.metadata.name.value.clone() }
}

/// The names of the files that hold something which any pipeline may use.
fn shared_files(documents: &Documents) -> BTreeSet<&str> {
    let Documents { topics, schemas, connections, pipelines: _, connectors: _, tests: _, lost: _ } = documents;
    let places = topics.iter().map(|document| &document.place);
    let places = places.chain(schemas.iter().map(|document| &document.place));
    let places = places.chain(connections.iter().map(|document| &document.place));
    places.map(|place| place.file.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(name: &str, from: &str, to: &str) -> SpecFile {
        let text = format!(
            "apiVersion: runner/v1\nkind: Pipeline\nmetadata: {{ name: {name} }}\nspec:\n  sources: {{ a: {{ kafka: {{ topic: {from} }}, format: string }} }}\n  sinks: {{ b: {{ from: a, kafka: {{ topic: {to} }}, format: string }} }}\n"
        );
        SpecFile { name: format!("{name}.yaml"), text }
    }

    #[test]
    fn a_pipeline_takes_with_it_what_it_needs_and_no_more() {
        let topic = "apiVersion: runner/v1\nkind: Topic\nmetadata: { name: y }\nspec: { format: string }\n";
        let submission = Submission {
            files: vec![
                pipeline("reads", "one", "two"),
                pipeline("writes", "zero", "one"),
                pipeline("alone", "x", "y"),
                SpecFile { name: "topic.yaml".into(), text: topic.into() },
            ],
            ..Submission::default()
        };
        let parts = submission.parts(Path::new("s")).unwrap();
        let files = |part: &Submission| part.files.iter().map(|file| file.name.clone()).collect::<Vec<_>>().join(" ");
        let parts: Vec<(String, String)> = parts.iter().map(|(name, part)| (name.to_string(), files(part))).collect();
        let part = |name: &str, files: &str| (name.to_owned(), files.to_owned());
        assert_eq!(
            parts,
            [
                part("reads", "reads.yaml writes.yaml topic.yaml"),
                part("writes", "writes.yaml topic.yaml"),
                part("alone", "alone.yaml topic.yaml")
            ]
        );
        let name = Name { namespace: "default".into(), name: "reads".into() };
        let (before, plan) = submission.plans(&name, Path::new("s"), &Offline).unwrap();
        assert_eq!((before.len(), before[0].name.as_str(), plan.name.as_str()), (1, "writes", "reads"));
        assert_eq!(plan.state_dir, Path::new("s/default/reads"));
    }

    #[test]
    fn only_those_variables_go_along_that_a_spec_asks_for() {
        let values = Values {
            env: [("ASKED", "1"), ("OTHER", "2"), ("HOME", "3")].map(|(a, b)| (a.into(), b.into())).into(),
            values: Map::new(),
        };
        let files = vec![SpecFile { name: "a".into(), text: "{{ env.ASKED }} {{ env['HOME'] }}".into() }];
        let submission = Submission::of_files(files, values);
        assert_eq!(submission.env.keys().collect::<Vec<_>>(), ["ASKED", "HOME"]);
        assert!(!format!("{submission:?}").contains("env"), "a text may hold a secret");
    }
}
