//! Bodies of the registry's requests and answers. What is not known in a request is ignored, as the protocol wants.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::registry::book::{Found, NewSchema, Reference};
use crate::registry::refusal::Refusal;

/// A request that brings a schema.
#[derive(Debug, Deserialize)]
struct SchemaRequest {
    #[serde(default)]
    schema: Option<String>,
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    #[serde(default)]
    metadata: Option<Json>,
    #[serde(default, rename = "ruleSet")]
    rule_set: Option<Json>,
    #[serde(default)]
    id: Option<i32>,
    #[serde(default)]
    version: Option<i32>,
}

/// The schema that a request brings.
///
/// # Errors
/// 400 for what is not such a request, 42201 for a language other than Avro.
pub fn new_schema(body: &[u8]) -> Result<NewSchema, Refusal> {
    let request: SchemaRequest = read(body)?;
    if let Some(other) = request.schema_type.filter(|word| !word.is_empty() && word != "AVRO") {
        let message = format!("Invalid schema type {other}: this registry keeps Avro schemas");
        return Err(Refusal::new(42201, message));
    }
    Ok(NewSchema {
        text: request.schema.unwrap_or_default(),
        references: request.references.unwrap_or_default(),
        metadata: request.metadata.filter(|metadata| !metadata.is_null()),
        rule_set: request.rule_set.filter(|rules| !rules.is_null()),
        id: request.id,
        version: request.version.filter(|version| *version != 0),
    })
}

/// A body that is any object.
pub fn object(body: &[u8]) -> Result<Map<String, Json>, Refusal> {
    read(body)
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(400, format!("the body cannot be read: {error}")))
}

/// A version with everything that is known of it; a look-up has no time and no deletion.
pub fn described(found: &Found, whole: bool) -> Json {
    let mut body = Map::new();
    body.insert("subject".into(), found.subject.shown().into());
    body.insert("version".into(), found.version.into());
    body.insert("id".into(), found.id.into());
    body.insert("guid".into(), found.entry.guid().to_string().into());
    body.insert("schemaType".into(), "AVRO".into());
    more(found, &mut body);
    body.insert("schema".into(), found.entry.schema.clone().into());
    if whole {
        body.insert("ts".into(), found.at.into());
        body.insert("deleted".into(), found.deleted.into());
    }
    Json::Object(body)
}

/// The answer to a registration.
pub fn identified(found: &Found) -> Json {
    let mut body = Map::new();
    body.insert("id".into(), found.id.into());
    body.insert("version".into(), found.version.into());
    body.insert("guid".into(), found.entry.guid().to_string().into());
    body.insert("schemaType".into(), "AVRO".into());
    more(found, &mut body);
    body.insert("schema".into(), found.entry.schema.clone().into());
    Json::Object(body)
}

/// What most schemas do not have.
fn more(found: &Found, body: &mut Map<String, Json>) {
    if !found.entry.references.is_empty() {
        body.insert("references".into(), json!(found.entry.references));
    }
    for (key, value) in [("metadata", &found.entry.metadata), ("ruleSet", &found.entry.rule_set)] {
        if let Some(value) = value {
            body.insert(key.into(), value.clone());
        }
    }
}

/// The answer to a PUT of settings: what was given, the level in capitals.
pub fn configured(mut given: Map<String, Json>) -> Json {
    if let Some(Json::String(level)) = given.get_mut("compatibility") {
        *level = level.to_uppercase();
    }
    Json::Object(given)
}
