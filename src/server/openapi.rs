//! `/v1/openapi.json`: the API described for programs, from the types that are answered.

use std::sync::OnceLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use super::pipelines::{Log, Pipeline, Pipelines};
use super::refusal::Refusal;
use crate::deploy::submission::Submission;

/// A way to ask.
struct Operation {
    method: &'static str,
    path: &'static str,
    does: &'static str,
    /// It brings specs.
    takes_specs: bool,
    /// Statuses of success, and the type that is answered.
    gives: &'static [(u16, Option<&'static str>)],
}

const OPERATIONS: &[Operation] = &[
    get("/v1/pipelines", "All pipelines", &[(200, Some("Pipelines"))]),
    Operation {
        method: "post",
        path: "/v1/pipelines",
        does: "Submit new pipelines: all of the documents",
        takes_specs: true,
        gives: &[(201, Some("Pipelines"))],
    },
    get("/v1/pipelines/{name}", "One pipeline, with its plan", &[(200, Some("Pipeline"))]),
    Operation {
        method: "put",
        path: "/v1/pipelines/{name}",
        does: "Submit a pipeline, new or changed; what is as it was stays as it is",
        takes_specs: true,
        gives: &[(200, Some("Pipeline")), (201, Some("Pipeline"))],
    },
    Operation {
        method: "delete",
        path: "/v1/pipelines/{name}",
        does: "Stop and forget a pipeline; its journal and output stay. 202: its last commit takes longer",
        takes_specs: false,
        gives: &[(204, None), (202, None)],
    },
    want("/v1/pipelines/{name}/pause", "Commit what was read and pause"),
    want("/v1/pipelines/{name}/resume", "Run again"),
    want("/v1/pipelines/{name}/stop", "Commit what was read and stop"),
    want("/v1/pipelines/{name}/restart", "Stop and start again"),
    get("/v1/pipelines/{name}/logs", "The last lines that it logged", &[(200, Some("Log"))]),
];

const fn get(path: &'static str, does: &'static str, gives: &'static [(u16, Option<&'static str>)]) -> Operation {
    Operation { method: "get", path, does, takes_specs: false, gives }
}

const fn want(path: &'static str, does: &'static str) -> Operation {
    Operation { method: "put", path, does, takes_specs: false, gives: &[(202, Some("Pipeline"))] }
}

pub async fn show() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| description().to_string());
    ([(CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

fn description() -> Json {
    let mut paths: Map<String, Json> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| Json::Object(Map::new()));
        path[operation.method] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "runner", "version": env!("CARGO_PKG_VERSION"), "description": "Pipelines of `runner serve`." },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn described(operation: &Operation) -> Json {
    let parameter = |name: &str, place: &str, what: &str| {
        let (required, schema) = (place == "path", json!({ "type": "string" }));
        json!({ "name": name, "in": place, "required": required, "description": what, "schema": schema })
    };
    let mut parameters = Vec::new();
    if operation.path.contains("{name}") {
        parameters.push(parameter("name", "path", "`metadata.name` of the pipeline"));
        parameters.push(parameter("namespace", "query", "`metadata.namespace`; default `default`"));
    }
    if operation.path.ends_with("/logs") {
        parameters.push(parameter("lines", "query", "how many; default 100"));
    }
    if operation.takes_specs {
        let what = "Go on without the state of this step, which is not what it was; may be given several times";
        parameters.push(parameter("accept_reset", "query", what));
    }
    if operation.method != "get" && operation.path.contains("{name}") {
        parameters.push(parameter("If-Match", "header", "ETag of the state that is to be changed"));
    }
    let content =
        |name: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
    let mut responses: Map<String, Json> = Map::new();
    for (status, body) in operation.gives {
        let response = match body {
            Some(name) => json!({ "description": "Done", "content": content(name) }),
            None => json!({ "description": "Done" }),
        };
        responses.insert(status.to_string(), response);
    }
    responses.insert("default".into(), json!({ "description": "Refused", "content": content("Error") }));
    let mut described = json!({ "summary": operation.does, "parameters": parameters, "responses": responses });
    if operation.takes_specs {
        let mut content = content("Submission");
        let what = "Documents of the language: `runner schema spec` prints their JSON Schema.";
        content["application/yaml"] = json!({ "schema": { "type": "string", "description": what } });
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

fn schemas() -> Json {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    generator.subschema_for::<Pipeline>();
    generator.subschema_for::<Pipelines>();
    generator.subschema_for::<Log>();
    generator.subschema_for::<Submission>();
    let refusal = generator.subschema_for::<Refusal>();
    let mut all = Json::Object(generator.take_definitions(true));
    all["Error"] = json!({ "type": "object", "required": ["error"], "properties": { "error": refusal } });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_referred_to_is_described() {
        let description = description();
        let text = description.to_string();
        let named = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for name in named {
            assert!(description["components"]["schemas"].get(name).is_some(), "{name} in {text}");
            count += 1;
        }
        assert!(count > 20, "{text}");
        let paths = description["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 7);
        assert_eq!(paths["/v1/pipelines/{name}"].as_object().unwrap().len(), 3);
    }
}
