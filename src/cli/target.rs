//! What a name on the command line is on a server: a pipeline, or a connector, which is changed by Kafka Connect's API.

use reqwest::Method;
use serde_json::Value as Json;

use super::remote::{Answer, Remote};
use crate::deploy::submission::Name;
use crate::report::Failure;

/// Something that a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As `/v1/pipelines` has it.
    pub pipeline: Name,
    /// The connector that it is made of: any text.
    pub connector: Option<String>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.connector {
            Some(connector) => write!(f, "connector {connector}"),
            None => self.pipeline.fmt(f),
        }
    }
}

impl Target {
    /// What a server answered of one.
    pub fn of(one: &Json) -> Target {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let pipeline = Name { namespace: text("namespace"), name: text("name") };
        Target { pipeline, connector: one["connector"].as_str().map(str::to_owned) }
    }

    /// Those of these names among what a server answered: pipelines as `NAME` or `NAMESPACE/NAME`, and connectors by their
    /// own, which count where no pipeline has the name.
    ///
    /// # Errors
    /// `pipeline.unknown`.
    pub fn find(all: &Json, names: &[String]) -> Result<Vec<Target>, Failure> {
        let all: Vec<Target> = all["pipelines"].as_array().into_iter().flatten().map(Target::of).collect();
        let find = |text: &String| {
            let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
            let named =
                |one: &&Target| (one.pipeline.namespace.as_str(), one.pipeline.name.as_str()) == (namespace, name);
            let found = all.iter().find(named);
            let found = found.or_else(|| all.iter().find(|one| one.connector.as_ref() == Some(text)));
            found.cloned().ok_or_else(|| {
                let message = format!("there is no pipeline `{text}`, and no connector of that name");
                Failure::user("pipeline.unknown", message).hint("`runner get` lists what there is")
            })
        };
        names.iter().map(find).collect()
    }

    /// Looks for them on a server.
    ///
    /// # Errors
    /// `pipeline.unknown`; the server's.
    pub fn ask(remote: &Remote, names: &[String]) -> Result<Vec<Target>, Failure> {
        Target::find(&remote.call(Method::GET, None, "", None)?.body, names)
    }

    /// `pause`, `resume` or `stop`.
    ///
    /// # Errors
    /// The server's.
    pub fn want(&self, remote: &Remote, verb: &str) -> Result<(), Failure> {
        match &self.connector {
            Some(connector) => remote.connect(Method::PUT, &["connectors", connector, verb], "", None)?,
            None => remote.call(Method::PUT, Some(&self.pipeline), verb, None)?,
        };
        Ok(())
    }

    /// Has the failed tasks of a connector try again: resuming it does not, as with Connect. False of a pipeline, which
    /// resuming starts again.
    ///
    /// # Errors
    /// The server's.
    pub fn retry(&self, remote: &Remote) -> Result<bool, Failure> {
        let Some(connector) = &self.connector else { return Ok(false) };
        let query = "includeTasks=true&onlyFailed=true";
        remote.connect(Method::POST, &["connectors", connector, "restart"], query, None)?;
        Ok(true)
    }

    /// Stops and forgets it.
    ///
    /// # Errors
    /// The server's.
    pub fn delete(&self, remote: &Remote) -> Result<Answer, Failure> {
        match &self.connector {
            Some(connector) => remote.connect(Method::DELETE, &["connectors", connector], "", None),
            None => remote.call(Method::DELETE, Some(&self.pipeline), "", None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipeline_counts_before_a_connector_of_its_name() {
        let one = |namespace: &str, name: &str, connector: Option<&str>| json!({ "namespace": namespace, "name": name, "connector": connector });
        let all = json!({ "pipelines": [
            one("default", "a", None), one("connect", "a", Some("a")), one("connect", "connector-0", Some("x/y")),
        ] });
        let find = |name: &str| Target::find(&all, &[name.to_owned()]).map(|found| found[0].to_string());
        assert_eq!(find("a").unwrap(), "a");
        assert_eq!(find("connect/a").unwrap(), "connector a");
        assert_eq!(find("x/y").unwrap(), "connector x/y");
        assert_eq!(find("connect/connector-0").unwrap(), "connector x/y");
        let failure = find("b").unwrap_err();
        assert_eq!(failure.code, "pipeline.unknown");
    }
}
