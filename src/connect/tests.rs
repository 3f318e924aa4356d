//! Against answers of Apache Kafka Connect 4.3.1: its plugins with their keys, and its verdicts on good and bad configs.
//!
//! `connect-validate.json` has whole answers for a plain source and sink; for all other configs what differs from
//! those. The texts of the documentation are ours and not compared.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;

const AVRO: &str = "io.confluent.connect.avro.AvroConverter";

fn data(name: &str) -> Json {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Without what Apache's distribution does not have, and without texts.
fn comparable(mut json: Json) -> Json {
    if let Some(definition) = json["definition"].as_object_mut() {
        definition.remove("documentation");
    }
    if let Some(recommended) = json["value"]["recommended_values"].as_array_mut() {
        recommended.retain(|value| value != AVRO);
    }
    json
}

fn config(json: &Json) -> Config {
    json.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn plugins_and_their_keys_are_those_of_connect() {
    let genuine = data("connect-plugins.json");
    let ours: Vec<Plugin> = plugins().into_iter().filter(|plugin| !plugin.class.starts_with("io.confluent.")).collect();
    assert_eq!(json!(ours), genuine["plugins"]);
    for plugin in ours {
        let kind = json!(plugin.kind);
        let mut keys = json!(definitions(&plugin));
        keys.as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|key| drop(key.as_object_mut().unwrap().remove("documentation")));
        let name = format!("{}:{}", kind.as_str().unwrap(), plugin.class);
        assert_eq!(keys, genuine["definitions"][&name], "{name}");
    }
}

/// What runner does better, or cannot know.
const OTHERWISE: &[(&str, &str)] = &[
    ("eos", "exactly once is available here"),
    ("eos-case", "exactly once is available here"),
    ("override-bad", "it is an error of its key, beside those of others"),
    ("plugin-version-bad", "one class of the name is there once"),
    ("RegexRouter-0", "text of a null pointer in Java"),
    ("pred-nopattern", "text of a null pointer in Java"),
];

#[test]
fn verdicts_are_those_of_connect() {
    let genuine = data("connect-validate.json");
    let cases = genuine.as_array().unwrap();
    let base: BTreeMap<&str, &Json> = cases
        .iter()
        .filter(|case| case["configs"].is_array())
        .map(|case| (case["case"].as_str().unwrap(), case))
        .collect();
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["case"].as_str().unwrap();
        if OTHERWISE.iter().any(|(case, _)| *case == name) {
            continue;
        }
        let config = config(&case["config"]);
        let class = config["connector.class"].clone();
        let answer = check_request(class.trim(), &config, &Worker::default());
        let validation = match (&answer, case.get("message")) {
            (Err(refusal), Some(message)) => {
                assert_eq!(json!([refusal.status, refusal.message]), json!([case["status"], message]), "{name}");
                continue;
            }
            (Ok(validation), None) => validation,
            other => panic!("{name}: {other:?}"),
        };
        let base = base[if class.contains("Sink") { "sink" } else { "source" }];
        let expected = expected(case, base);
        let found: Vec<Json> = validation.configs.iter().map(|info| comparable(json!(info))).collect();
        let names = |all: &[Json]| all.iter().map(|info| info["value"]["name"].clone()).collect::<Vec<_>>();
        if names(&found) != names(&expected) {
            wrong.push(format!("{name}: keys {:?}\n    instead of {:?}", names(&found), names(&expected)));
        }
        for (found, expected) in found.iter().zip(&expected) {
            let mut found = found.clone();
            if let Some(count) = expected["value"]["recommended_values"].as_u64() {
                let recommended = found["value"]["recommended_values"].as_array().unwrap().len();
                assert_eq!(recommended as u64, count, "{name}");
                found["value"]["recommended_values"] = json!(count);
            }
            if found != *expected {
                wrong.push(format!("{name}: {found}\n    instead of {expected}"));
            }
        }
        let groups = case.get("groups").unwrap_or(&base["groups"]);
        if json!(validation.groups) != *groups || json!(validation.error_count) != case["error_count"] {
            wrong.push(format!(
                "{name}: {} {:?} instead of {} {groups}",
                validation.error_count, validation.groups, case["error_count"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

/// The genuine answer, put together from what differs from the base.
fn expected(case: &Json, base: &Json) -> Vec<Json> {
    let base = base["configs"].as_array().unwrap();
    let Some(changed) = case["changed"].as_array() else { return base.clone() };
    let of = |name: &Json| {
        let plain = base.iter().find(|info| info["value"]["name"] == *name);
        let Some(change) = changed.iter().find(|info| info["value"]["name"] == *name) else {
            return plain.unwrap().clone();
        };
        let mut value = json!({"name": name, "value": null, "recommended_values": [], "errors": [], "visible": true});
        value.as_object_mut().unwrap().extend(change["value"].as_object().unwrap().clone());
        let definition = change.get("definition").unwrap_or_else(|| &plain.unwrap()["definition"]);
        json!({"definition": definition, "value": value})
    };
    match case["names"].as_array() {
        Some(names) => names.iter().map(of).collect(),
        None => base.iter().map(|info| of(&info["value"]["name"])).collect(),
    }
}

fn texts(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_config_without_a_class_or_with_an_unknown_one_is_refused() {
    let refusal = check(&texts(&[("name", "x")]), &Worker::default()).unwrap_err();
    assert_eq!(
        (refusal.status, refusal.message.as_str()),
        (400, "Connector config {name=x} contains no connector type")
    );
    let refusal = check(&texts(&[("connector.class", "com.nope.Nope")]), &Worker::default()).unwrap_err();
    let begin = "Failed to find any class that implements Connector and which name matches com.nope.Nope, available connectors are: PluginDesc{klass=class ";
    assert!(refusal.status == 400 && refusal.message.starts_with(begin), "{refusal}");
    let refusal = check_request("Nope", &texts(&[]), &Worker::default()).unwrap_err();
    assert_eq!(
        (refusal.status, refusal.message.as_str()),
        (
            500,
            "org.apache.kafka.connect.runtime.rest.errors.BadRequestException: Connector config {} contains no connector type"
        )
    );
    let other = texts(&[("connector.class", "FileStreamSink")]);
    let refusal = check_request("FileStreamSource", &other, &Worker::default()).unwrap_err();
    assert_eq!(refusal.message, "Included connector type FileStreamSink does not match request type FileStreamSource");
}

#[test]
fn all_errors_are_one_text() {
    let config = texts(&[("connector.class", "FileStreamSource"), ("name", "x"), ("tasks.max", "0")]);
    let validation = check(&config, &Worker::default()).unwrap();
    assert_eq!(
        list_of_errors(&validation.errors()),
        "Connector configuration is invalid and contains the following 2 error(s):\n\
         Invalid value 0 for configuration tasks.max: Value must be at least 1\n\
         Missing required configuration \"topic\" which has no default value.\n\
         You can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"
    );
}

#[test]
fn a_plugin_is_found_by_its_full_and_its_short_names() {
    let class = |name: &str| find_plugin(name).map(|plugin| plugin.class);
    assert_eq!(class("Datagen"), Some("io.confluent.kafka.connect.datagen.DatagenConnector"));
    assert_eq!(class("DatagenConnector"), class("Datagen"));
    assert_eq!(class("Json"), Some("org.apache.kafka.connect.json.JsonConverter"));
    assert_eq!(class("Cast$Value"), None);
    assert!(class("org.apache.kafka.connect.transforms.Cast$Value").is_some());
    assert_eq!(find_plugin("Simple").unwrap().kind, PluginKind::HeaderConverter);
}

fn datagen(more: &[(&str, &str)]) -> Config {
    let mut config = texts(&[("name", "x"), ("connector.class", "Datagen"), ("kafka.topic", "t")]);
    config.extend(texts(more));
    config
}

fn errors(config: &Config) -> Vec<(String, String)> {
    let validation = check(config, &Worker::default()).unwrap();
    let errors = |info: ConfigInfo| {
        let name = info.value.name;
        info.value.errors.into_iter().map(move |error| (name.clone(), error))
    };
    validation.configs.into_iter().flat_map(errors).collect()
}

#[test]
fn the_generator_has_exactly_one_source_of_its_schema() {
    const ONE: &str = "Must set exactly one of schema.string, schema.filename, quickstart";
    let on = |config: Config| errors(&config).into_iter().map(|(key, error)| (key, error == ONE)).collect::<Vec<_>>();
    let all = ["schema.string", "schema.filename", "quickstart"].map(|key| (key.to_owned(), true));
    assert_eq!(on(datagen(&[])), all);
    let two = [all[0].clone(), all[2].clone()];
    const GOOD: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}"#;
    assert_eq!(on(datagen(&[("quickstart", "users"), ("schema.string", GOOD)])), two);
    // What is wrong with each of them is said, too.
    let wrong = [("quickstart", "nope"), ("schema.string", "{"), ("schema.filename", "/nope.avsc")];
    let each = all.iter().flat_map(|(key, _)| [(key.clone(), false), (key.clone(), true)]).collect::<Vec<_>>();
    assert_eq!(on(datagen(&wrong)), each);
    assert_eq!(errors(&datagen(&[("quickstart", "Users")])), []);
}

#[test]
fn the_generator_names_what_is_wrong_with_its_settings() {
    let first = |more: &[(&str, &str)]| errors(&datagen(more)).into_iter().next().unwrap_or_default();
    let pair = |key: &str, error: &str| (key.to_owned(), error.to_owned());
    let (key, error) = first(&[("quickstart", "nope")]);
    assert!(key == "quickstart" && error.starts_with("quickstart must be one out of clickstream_codes,clickstream,"));
    let filename = pair("schema.filename", "Unable to find the schema file");
    assert_eq!(first(&[("schema.filename", "/nope.avsc")]), filename);
    let (key, error) = first(&[("schema.string", "{\"type\": \"recrod\"}")]);
    assert!(key == "schema.string" && error.starts_with("Unable to parse the provided schema: "), "{error}");
    const RANGE: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "rating", "type": {"type": "int", "arg.properties": {"range": {"min": 5, "max": 1}}}}]}"#;
    let (key, error) = first(&[("schema.string", RANGE)]);
    assert!(key == "schema.string" && error.contains("field `rating`: 'min' field must be"), "{error}");
    let no_field = "The schema does not contain the field provided in 'schema.keyfield'";
    let keyfield = pair("schema.keyfield", no_field);
    assert_eq!(first(&[("quickstart", "users"), ("schema.keyfield", "nope")]), keyfield);
    let interval = "Invalid value abc for configuration max.interval: Not a number of type LONG";
    assert_eq!(first(&[("quickstart", "users"), ("max.interval", "abc")]), pair("max.interval", interval));
    let iterations = "Invalid value 2147483648 for configuration iterations: Not a number of type INT";
    assert_eq!(first(&[("quickstart", "users"), ("iterations", "2147483648")]), pair("iterations", iterations));
    assert_eq!(errors(&datagen(&[("quickstart", "users"), ("iterations", " 2 ")])), []);
}
