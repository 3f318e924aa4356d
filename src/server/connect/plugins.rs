//! `/connector-plugins`: the classes that there are, what each can be told, and whether a configuration is good.

use serde_json::{Value as Json, json};

use super::answer::{Answer, Refusal};
use super::{Call, connectors};
use crate::connect::{check_request, config_of, definitions, find_plugin, plugins};
use crate::kafka_connect::json::Json as Given;

pub fn list(call: &Call) -> Result<Answer, Refusal> {
    let only_connectors = call.words("connectorsOnly").first().is_none_or(|word| word.eq_ignore_ascii_case("true"));
    let wanted = plugins().into_iter().filter(|plugin| !only_connectors || plugin.kind.is_connector());
    Answer::ok(wanted.map(|plugin| json!(plugin)).collect())
}

pub fn config(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let plugin = find_plugin(name).ok_or_else(|| Refusal::new(404, format!("Unknown plugin {name}.")))?;
    if let Some(other) = call.words("version").first().filter(|version| *version != plugin.version) {
        let message = format!(
            "Plugin {} not found that matches the version range [{other},{other}], available versions: [{}]",
            plugin.class, plugin.version
        );
        return Err(Refusal::new(400, message));
    }
    Answer::ok(json!(definitions(&plugin)))
}

pub fn validate(call: &Call, name: &str) -> Result<Answer, Refusal> {
    let given = Given::Object(connectors::object(&call.body)?);
    let config = config_of(&given).map_err(|problem| Refusal::new(400, problem.to_string()))?;
    let validation: Json = json!(check_request(name, &config, &call.face.worker.worker)?);
    Answer::ok(validation)
}
