//! The registry that `runner` serves, over HTTP: its protocol, the same verdicts as a third-party registry's, and
//! kill -9.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use reqwest::blocking::{Client, Response};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use runner::registry::EmbeddedRegistry;

use crate::runner::Runner;
use crate::serve::Server;
use crate::specs::Folder;

const TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// One of this process, for tests that use subjects of their own.
pub fn served() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    // Among what was built: nobody is left to remove it when the process ends.
    URL.get_or_init(|| serve(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep().as_path()))
}

/// Serves a folder as long as this process lives.
fn serve(folder: &Path) -> String {
    let registry = Arc::new(EmbeddedRegistry::open(folder).unwrap());
    let listener: TcpListener = runner::server::listen("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let face = runner::server::registry::router(registry);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(runner::server::answer(listener, face, None, std::future::pending()))
    });
    url
}

/// A registry and a client for it.
struct Asked {
    client: Client,
    url: String,
    /// Of one of the test's own.
    _folder: Option<tempfile::TempDir>,
}

impl Asked {
    fn at(url: impl Into<String>) -> Asked {
        Asked { client: Client::new(), url: url.into(), _folder: None }
    }

    /// One of the test's own.
    fn new() -> Asked {
        let folder = tempfile::tempdir().unwrap();
        let asked = Asked::at(serve(folder.path()));
        Asked { _folder: Some(folder), ..asked }
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("Content-Type", TYPE).body(body.to_string());
        }
        request.send().unwrap()
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body);
        let status = response.status().as_u16();
        let text = response.text().unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    #[track_caller]
    fn good(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    #[track_caller]
    fn refused(&self, method: Method, path: &str, body: Option<&Value>, status: u16, code: u64) {
        let (said, answer) = self.ask(method.clone(), path, body);
        assert_eq!((said, &answer["error_code"]), (status, &json!(code)), "{method} {path}: {answer}");
        assert!(answer["message"].is_string(), "{answer}");
    }
}

fn schema(text: &str) -> Value {
    json!({ "schema": text })
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

const A: &str = r#"{"name":"a","type":"int"}"#;
const B0: &str = r#"{"name":"b","type":"int","default":0}"#;
const B: &str = r#"{"name":"b","type":"int"}"#;

#[test]
fn the_protocol_is_answered_with_its_bodies_and_codes() {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let r = Asked::new();
    assert_eq!(r.good(get.clone(), "/", None), json!({}));
    assert_eq!(r.good(get.clone(), "/subjects/", None), json!([]));
    let (first, second) = (schema(&record(A)), schema(&record(&format!("{A},{B0}"))));
    let registered = r.good(post.clone(), "/subjects/a%2Fb/versions", Some(&first));
    assert_eq!((&registered["id"], &registered["version"]), (&json!(1), &json!(1)));
    assert_eq!(r.good(post.clone(), "/subjects/other/versions", Some(&first))["id"], 1, "the same text, the same id");
    assert_eq!(r.good(post.clone(), "/subjects/a%2Fb/versions", Some(&second))["id"], 2);
    assert_eq!(r.good(get.clone(), "/subjects/a%2Fb/versions", None), json!([1, 2]));
    let latest = r.good(get.clone(), "/subjects/a%2Fb/versions/LATEST", None);
    assert_eq!(
        (&latest["subject"], &latest["version"], &latest["schemaType"]),
        (&json!("a/b"), &json!(2), &json!("AVRO"))
    );
    assert_eq!(r.good(get.clone(), "/subjects/a%2Fb/versions/-1/schema", None)["type"], "record");
    assert_eq!(r.good(post.clone(), "/subjects/a%2Fb", Some(&first))["version"], 1);
    assert_eq!(r.good(get.clone(), "/schemas/ids/1?fetchMaxId=true", None)["maxId"], 2);
    assert_eq!(r.good(get.clone(), "/schemas/ids/1/subjects", None), json!(["a/b", "other"]));
    let guid = latest["guid"].as_str().unwrap();
    assert_eq!(r.good(get.clone(), &format!("/schemas/guids/{guid}/ids"), None), json!([{ "context": ".", "id": 2 }]));
    assert_eq!(r.good(get.clone(), "/schemas?latestOnly=true&limit=1", None)[0]["version"], 2);

    let third = schema(&record(&format!("{A},{{\"name\":\"c\",\"type\":\"int\"}}")));
    r.refused(post.clone(), "/subjects/a%2Fb/versions", Some(&third), 409, 40901);
    let check = |path: &str| r.good(post.clone(), &format!("/compatibility/subjects/{path}"), Some(&third));
    assert_eq!(check("a%2Fb/versions/latest"), json!({ "is_compatible": false }));
    assert_eq!(check("none/versions"), json!({ "is_compatible": true }));
    let verbose = check("a%2Fb/versions?verbose=true");
    assert!(
        verbose["messages"][0].as_str().unwrap().starts_with("{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE'"),
        "{verbose}"
    );
    r.refused(post.clone(), "/compatibility/subjects/none/versions/1", Some(&third), 404, 40402);
    let invalid = schema("nonsense");
    r.refused(post.clone(), "/subjects/x/versions", Some(&invalid), 422, 42201);
    assert_eq!(
        r.good(post.clone(), "/compatibility/subjects/x/versions?verbose=true", Some(&invalid))["is_compatible"],
        false
    );

    assert_eq!(r.good(get.clone(), "/config", None), json!({ "compatibilityLevel": "BACKWARD" }));
    r.refused(get.clone(), "/config/x", None, 404, 40408);
    r.refused(put.clone(), "/config/x", Some(&json!({ "compatibility": "odd" })), 422, 42203);
    assert_eq!(
        r.good(put.clone(), "/config/x", Some(&json!({ "compatibility": "full" }))),
        json!({ "compatibility": "FULL" })
    );
    assert_eq!(r.good(delete.clone(), "/config/x", None), json!({ "compatibilityLevel": "FULL" }));
    r.refused(get.clone(), "/mode/x", None, 404, 40409);
    r.refused(put.clone(), "/mode", Some(&json!({ "mode": "odd" })), 422, 42204);
    assert_eq!(r.good(put.clone(), "/mode/x", Some(&json!({ "mode": "READONLY" }))), json!({ "mode": "READONLY" }));
    r.refused(post.clone(), "/subjects/x/versions", Some(&first), 422, 42205);

    r.refused(get.clone(), "/subjects/none/versions", None, 404, 40401);
    r.refused(get.clone(), "/subjects/a%2Fb/versions/9", None, 404, 40402);
    r.refused(get.clone(), "/subjects/a%2Fb/versions/0", None, 422, 42202);
    r.refused(get.clone(), "/schemas/ids/99", None, 404, 40403);
    r.refused(get.clone(), "/schemas/ids/abc", None, 404, 404);
    r.refused(get.clone(), "/subjects?limit=abc", None, 404, 404);
    r.refused(post.clone(), "/subjects/__GLOBAL/versions", Some(&first), 422, 42208);
    r.refused(delete.clone(), "/subjects/a%2Fb?permanent=true", None, 404, 40405);
    assert_eq!(r.good(delete.clone(), "/subjects/a%2Fb/versions/1", None), json!(1));
    assert_eq!(r.good(get.clone(), "/subjects/a%2Fb/versions?deletedAsNegative=true", None), json!([-1, 2]));
    assert_eq!(r.good(delete.clone(), "/subjects/a%2Fb", None), json!([2]));
    assert_eq!(r.good(get.clone(), "/subjects?deletedOnly=true", None), json!(["a/b"]));
    assert_eq!(r.good(delete.clone(), "/subjects/a%2Fb?permanent=true", None), json!([1, 2]));
    r.refused(get.clone(), "/nothing", None, 404, 404);
    r.refused(put.clone(), "/subjects", Some(&first), 405, 405);
    r.refused(post.clone(), "/subjects/x/versions", Some(&json!({ "schema": { "type": "int" } })), 400, 400);
    r.refused(post.clone(), "/subjects/x/versions", Some(&json!({ "schema": "{}", "schemaType": "XML" })), 422, 42201);
    let in_context = r.good(post.clone(), "/contexts/.dev/subjects/s/versions", Some(&second));
    assert_eq!(in_context["id"], 1, "ids are each context's own");
    assert_eq!(r.good(get.clone(), "/subjects/:.dev:s/versions/1", None)["subject"], ":.dev:s");
    assert_eq!(r.good(get, "/contexts", None), json!([".", ".dev"]));
}

/// What cannot be deleted, and what is refused of an id, of rules and of a context, has a code of its own.
#[test]
fn deletes_in_the_wrong_order_and_what_does_not_fit_have_codes_of_their_own() {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let r = Asked::new();
    r.good(post.clone(), "/subjects/s/versions", Some(&schema(&record(A))));
    r.good(post.clone(), "/subjects/s/versions", Some(&schema(&record(&format!("{A},{B0}")))));
    r.refused(delete.clone(), "/subjects/s/versions/2?permanent=true", None, 404, 40407);
    assert_eq!(r.good(delete.clone(), "/subjects/s/versions/2", None), json!(2));
    r.refused(delete.clone(), "/subjects/s/versions/2", None, 404, 40406);
    r.refused(delete.clone(), "/subjects/s?permanent=true", None, 404, 40405);
    assert_eq!(r.good(delete.clone(), "/subjects/s", None), json!([1]));
    r.refused(delete.clone(), "/subjects/s", None, 404, 40404);
    assert_eq!(r.good(delete.clone(), "/subjects/s?permanent=true", None), json!([1, 2]));
    r.refused(delete.clone(), "/subjects/s?permanent=true", None, 404, 40401);

    let part = r#"{"type":"record","name":"Part","fields":[{"name":"a","type":"int"}]}"#;
    r.good(post.clone(), "/subjects/part/versions", Some(&schema(part)));
    let mut whole = schema(r#"{"type":"record","name":"Whole","fields":[{"name":"part","type":"Part"}]}"#);
    whole["references"] = json!([{ "name": "Part", "subject": "part", "version": 1 }]);
    r.good(post.clone(), "/subjects/whole/versions", Some(&whole));
    r.refused(delete.clone(), "/subjects/part/versions/1", None, 422, 42206);
    r.refused(delete.clone(), "/subjects/part", None, 422, 42206);
    // A referrer that is deleted softly still refers.
    r.good(delete.clone(), "/subjects/whole", None);
    r.refused(delete.clone(), "/subjects/part", None, 422, 42206);
    r.good(delete.clone(), "/subjects/whole?permanent=true", None);
    assert_eq!(r.good(delete.clone(), "/subjects/part", None), json!([1]));

    r.good(post.clone(), "/contexts/.dev/subjects/s/versions", Some(&schema(part)));
    r.refused(delete.clone(), "/contexts/.dev", None, 422, 42211);
    r.good(delete.clone(), "/subjects/:.dev:s", None);
    r.good(delete.clone(), "/subjects/:.dev:s?permanent=true", None);
    r.good(delete, "/contexts/.dev", None);
    assert_eq!(r.good(get, "/contexts", None), json!(["."]));

    r.good(put, "/mode/i", Some(&json!({ "mode": "IMPORT" })));
    let mut given = schema(part);
    given["id"] = json!(7);
    assert_eq!(r.good(post.clone(), "/subjects/i/versions", Some(&given))["id"], 7);
    given = schema("\"int\"");
    given["id"] = json!(7);
    r.refused(post, "/subjects/i/versions", Some(&given), 422, 42205);
}

#[test]
fn rules_that_cannot_be_are_refused_wherever_they_are_given() {
    let r = Asked::new();
    let good = json!({ "name": "r", "type": "CEL", "mode": "WRITE" });
    let rules = |list: &str, rules: &[&Value]| json!({ list: rules });
    let changed = |key: &str, value: Value| {
        let mut rule = good.clone();
        rule[key] = value;
        rule
    };
    let (unnamed, odd, untyped) =
        (changed("name", Value::Null), changed("name", json!("1-r")), changed("type", Value::Null));
    for wrong in [
        rules("domainRules", &[&unnamed]),
        rules("domainRules", &[&odd]),
        rules("encodingRules", &[&untyped]),
        rules("domainRules", &[&good, &good]),
        rules("migrationRules", &[&good]),
        rules("domainRules", &[&changed("mode", json!("UPGRADE"))]),
    ] {
        let mut body = schema(&record(A));
        body["ruleSet"] = wrong.clone();
        r.refused(Method::POST, "/subjects/s/versions", Some(&body), 422, 42210);
        for key in ["defaultRuleSet", "overrideRuleSet"] {
            r.refused(Method::PUT, "/config/s", Some(&json!({ key: wrong })), 422, 42210);
        }
    }
    r.refused(Method::GET, "/subjects/s/versions", None, 404, 40401);
    r.refused(Method::GET, "/config/s", None, 404, 40408);
    let mut body = schema(&record(A));
    body["ruleSet"] = rules("domainRules", &[&good]);
    assert_eq!(r.good(Method::POST, "/subjects/s/versions", Some(&body))["version"], 1);
}

/// Its folder is not there: nothing was changed, and the next change that can be kept is.
#[test]
fn what_cannot_be_kept_is_a_store_error() {
    let folder = tempfile::tempdir().unwrap();
    let r = Asked::at(serve(folder.path()));
    r.good(Method::POST, "/subjects/s/versions", Some(&schema(&record(A))));
    let aside = folder.path().with_extension("aside");
    std::fs::rename(folder.path(), &aside).unwrap();
    let second = schema(&record(&format!("{A},{B0}")));
    r.refused(Method::POST, "/subjects/s/versions", Some(&second), 500, 50001);
    r.refused(Method::DELETE, "/subjects/s", None, 500, 50001);
    std::fs::rename(&aside, folder.path()).unwrap();
    assert_eq!(r.good(Method::GET, "/subjects/s/versions", None), json!([1]));
    assert_eq!(r.good(Method::POST, "/subjects/s/versions", Some(&second))["version"], 2);
}

#[test]
fn rules_metadata_aliases_and_modes_are_asked_for_by_what_they_are() {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let r = Asked::new();
    let with = |more: Value| {
        let mut body = schema(&record(A));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let owned = with(json!({ "metadata": { "properties": { "owner": "me", "team": "x" } } }));
    let first = r.good(post.clone(), "/subjects/s/versions", Some(&owned));
    assert_eq!((&first["version"], &first["metadata"]["properties"]["team"]), (&json!(1), &json!("x")));
    let by = |pairs: &str| format!("/subjects/s/metadata?{pairs}");
    let found = r.good(get.clone(), &by("key=owner&value=me&key=team&value=x"), None);
    assert_eq!(found["version"], 1);
    r.refused(get.clone(), &by("key=owner&value=me&key=team&value=y"), None, 404, 40403);
    let ruled = with(json!({ "ruleSet": { "domainRules": [{ "name": "e", "type": "ENCRYPT" }] }, "version": 2 }));
    let second = r.good(post.clone(), "/subjects/s/versions", Some(&ruled));
    let noted = &second["metadata"]["properties"];
    assert_eq!((&noted["confluent:version"], &noted["owner"]), (&json!("2"), &json!("me")), "{second}");
    let listed = |query: &str| -> Vec<(String, i64)> {
        let all = r.good(get.clone(), &format!("/schemas?{query}"), None);
        let one = |found: &Value| (found["subject"].as_str().unwrap().to_owned(), found["version"].as_i64().unwrap());
        all.as_array().unwrap().iter().map(one).collect()
    };
    assert_eq!(listed("ruleType=ENCRYPT"), [("s".to_owned(), 2)]);
    assert_eq!(listed("ruleType=CEL"), []);
    r.good(put.clone(), "/config/other", Some(&json!({ "alias": "s" })));
    assert_eq!(listed("aliases=true&latestOnly=true"), [("s".to_owned(), 2), ("other".to_owned(), 2)]);
    assert_eq!(r.good(get.clone(), "/subjects/other/versions", None), json!([1, 2]));

    r.good(post.clone(), "/subjects/:.dev:s/versions", Some(&owned));
    assert_eq!(r.good(get.clone(), "/contexts?offset=1&limit=5", None), json!([".dev"]));
    let forward = json!({ "mode": "FORWARD" });
    r.refused(put.clone(), "/mode/s", Some(&forward), 422, 42204);
    assert_eq!(r.good(put.clone(), "/mode", Some(&forward)), forward);
    r.refused(post.clone(), "/subjects/s/versions", Some(&schema("\"int\"")), 422, 42205);
    let mut given = schema("\"int\"");
    given["id"] = json!(40);
    assert_eq!(r.good(post, "/subjects/s/versions", Some(&given))["id"], 40);
    r.good(put, "/mode/s", Some(&json!({ "mode": "READONLY" })));
    assert_eq!(r.good(delete, "/mode?recursive=true", None), forward);
    r.refused(get, "/mode/s", None, 404, 40409);
}

#[test]
fn lists_and_look_ups_are_those_of_another_registry() {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let told = |r: &Asked| -> Vec<Value> {
        let (get, post) = (Method::GET, Method::POST);
        let (one, two) = (format!("{name}-1"), format!("{name}-2"));
        // A text of its own, so that nobody else's subject has the id.
        let text = |more: &str| {
            let fields = format!("{A}{more}");
            format!(r#"{{"type":"record","name":"R{name}","fields":[{fields}],"zz":"1","aa":"2"}}"#)
        };
        let body = schema(&text(""));
        let id = r.good(post.clone(), &format!("/subjects/{one}/versions?normalize=true"), Some(&body))["id"].clone();
        let same = r.good(post.clone(), &format!("/subjects/{two}/versions?normalize=true"), Some(&body))["id"].clone();
        r.good(post.clone(), &format!("/subjects/{one}/versions"), Some(&schema(&text(&format!(",{B0}")))));
        let ours = |mut list: Value| {
            let list = list.as_array_mut().unwrap();
            list.retain(|item| item.to_string().contains(&name));
            list.sort_by_key(Value::to_string);
            json!(list)
        };
        let list = |path: String| ours(r.good(Method::GET, &path, None));
        let mut told = vec![json!(id == same)];
        told.push(list(format!("/schemas/ids/{id}/subjects")));
        told.push(list(format!("/schemas/ids/{id}/versions")));
        told.push(r.good(post, &format!("/subjects/{one}?normalize=true"), Some(&body))["version"].clone());
        r.good(Method::DELETE, &format!("/subjects/{two}"), None);
        told.push(list("/subjects".into()));
        told.push(list("/subjects?deleted=true".into()));
        told.push(list(format!("/schemas/ids/{id}/versions")));
        told.push(r.good(get.clone(), &format!("/subjects/{two}/versions?deleted=true"), None));
        told.push(json!(r.ask(get, &format!("/subjects/{two}/versions"), None).0));
        told
    };
    let (ours, theirs) = (told(&Asked::at(served())), told(&Asked::at(crate::servers::registry())));
    assert_eq!(ours, theirs);
    assert_eq!(ours[0], true);
}

#[test]
fn bodies_and_answers_are_of_the_types_that_were_agreed_on() {
    let r = Asked::new();
    let body = schema("\"int\"").to_string();
    let post = |content_type: &str| {
        let request = r.client.post(format!("{}/subjects/t/versions", r.url)).body(body.clone());
        request.header("Content-Type", content_type).send().unwrap().status().as_u16()
    };
    for known in
        [TYPE, "application/json; charset=utf-8", "application/octet-stream", "application/vnd.schemaregistry+json"]
    {
        assert_eq!(post(known), 200, "{known}");
    }
    assert_eq!(post("text/plain"), 415);
    let get = |accept: &str| {
        let response = r.client.get(format!("{}/subjects", r.url)).header("Accept", accept).send().unwrap();
        let given = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), given)
    };
    assert_eq!(get("application/json"), (200, "application/json".into()));
    assert_eq!(get("text/html, application/json;q=0.5, application/vnd.schemaregistry.v1+json"), (200, TYPE.into()));
    assert_eq!(get("*/*"), (200, TYPE.into()));
    assert_eq!(get("text/html").0, 406);
    let (status, answer) = r.ask(Method::POST, "/subjects/t/versions", None);
    assert!(status == 415 || status == 422, "{answer}");
    let large = schema(&"x".repeat(11 << 20));
    r.refused(Method::POST, "/subjects/t/versions", Some(&large), 422, 42209);
    assert_eq!(r.send(Method::HEAD, "/subjects", None).status(), StatusCode::OK);
}

/// Schemas of which each may become any other.
fn schemas() -> Vec<String> {
    let named = |text: &str| record(&format!("{A},{{\"name\":\"n\",\"type\":{text}}}"));
    let mut all: Vec<String> = ["int", "long", "float", "double", "string", "bytes", "boolean", "null"]
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect();
    all.extend([
        r#"["null","int"]"#.into(),
        r#"["null","long","string"]"#.into(),
        r#"["int"]"#.into(),
        r#"{"type":"array","items":"int"}"#.into(),
        r#"{"type":"array","items":["null","long"]}"#.into(),
        r#"{"type":"map","values":"int"}"#.into(),
        r#"{"type":"long","logicalType":"timestamp-millis"}"#.into(),
        r#"{"type":"fixed","name":"F","size":2}"#.into(),
        r#"{"type":"fixed","name":"F","size":3}"#.into(),
        r#"{"type":"fixed","name":"x.F","size":2}"#.into(),
        r#"{"type":"enum","name":"E","symbols":["A","B"]}"#.into(),
        r#"{"type":"enum","name":"E","symbols":["A"]}"#.into(),
        r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#.into(),
        record(A),
        record(B0),
        record(&format!("{A},{B0}")),
        record(&format!("{A},{B}")),
        record(r#"{"name":"z","type":"int","aliases":["a"]}"#),
        record(r#"{"name":"a","type":["null","int"],"default":null}"#),
        r#"{"type":"record","name":"S","fields":[{"name":"a","type":"int"}]}"#.into(),
        r#"{"type":"record","name":"S","aliases":["R"],"fields":[{"name":"a","type":"int"}]}"#.into(),
        r#"{"type":"record","name":"N","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","N"],"default":null}]}"#.into(),
        r#"{"type":"record","name":"N","fields":[{"name":"v","type":"long"},{"name":"next","type":["null","N"],"default":null}]}"#.into(),
        named(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#),
        named(r#"["null",{"type":"fixed","name":"F","size":2}]"#),
    ]);
    all
}

/// Every schema after every other, both ways at once (FULL takes what BACKWARD and FORWARD take): as the other
/// registry decides, so do we.
#[test]
fn verdicts_are_those_of_another_registry() {
    let (ours, theirs) = (Asked::at(served()), Asked::at(crate::servers::registry()));
    let prefix = uuid::Uuid::new_v4().simple().to_string();
    let schemas = schemas();
    let mut differ = Vec::new();
    let mut counts = [0, 0];
    for (old_index, old) in schemas.iter().enumerate() {
        for level in ["BACKWARD", "FORWARD", "FULL"] {
            let subject = format!("{prefix}-{old_index}-{level}");
            for registry in [&ours, &theirs] {
                registry.good(Method::POST, &format!("/subjects/{subject}/versions"), Some(&schema(old)));
                let config = json!({ "compatibility": level });
                registry.good(Method::PUT, &format!("/config/{subject}"), Some(&config));
            }
            for new in &schemas {
                let path = format!("/compatibility/subjects/{subject}/versions/latest");
                let verdict = |registry: &Asked| {
                    registry.good(Method::POST, &path, Some(&schema(new)))["is_compatible"].as_bool().unwrap()
                };
                let (our, their) = (verdict(&ours), verdict(&theirs));
                counts[usize::from(our)] += 1;
                if our != their {
                    differ.push(format!("{level}: {old} → {new}: we say {our}"));
                }
            }
        }
    }
    assert!(differ.is_empty(), "of {counts:?} verdicts {} differ:\n{}", differ.len(), differ.join("\n"));
    assert!(counts[0] > 1_000 && counts[1] > 200, "both verdicts come: {counts:?}");
}

/// Against several versions, in all seven levels, by registering.
#[test]
fn transitive_verdicts_are_those_of_another_registry() {
    let (ours, theirs) = (Asked::at(served()), Asked::at(crate::servers::registry()));
    let levels =
        ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];
    let (a, ab0, ab, none) = (record(A), record(&format!("{A},{B0}")), record(&format!("{A},{B}")), record(""));
    let stories = [[&a, &ab0, &ab], [&ab, &ab0, &a], [&ab, &a, &none], [&none, &ab0, &ab], [&a, &none, &ab0]];
    let mut taken = 0;
    for (index, story) in stories.iter().enumerate() {
        for level in levels {
            let subject = format!("{}-{index}-{level}", uuid::Uuid::new_v4().simple());
            let tell = |registry: &Asked| {
                let set = |level: &str| {
                    let config = json!({ "compatibility": level });
                    registry.good(Method::PUT, &format!("/config/{subject}"), Some(&config));
                };
                let register = |text: &String| {
                    registry.ask(Method::POST, &format!("/subjects/{subject}/versions"), Some(&schema(text))).0
                };
                // The first makes the subject: some registries keep no settings of one that is not there.
                assert_eq!(register(story[0]), 200);
                set("NONE");
                assert_eq!(register(story[1]), 200);
                set(level);
                register(story[2])
            };
            let (our, their) = (tell(&ours), tell(&theirs));
            assert_eq!(our, their, "story {index} at {level}");
            taken += usize::from(our == 200);
        }
    }
    assert!(taken > 10 && taken < 30, "both verdicts come: {taken} of 35");
}

#[test]
fn an_id_that_was_answered_is_there_after_kill_9() {
    let folder = Folder::new();
    let start = || Server::start(folder.path(), &["--registry", "127.0.0.1:0"]);
    let mut answered: Vec<(String, i64)> = Vec::new();
    for round in 0..3 {
        let server = start();
        let registry = Asked::at(server.registry.clone().unwrap());
        for (subject, id) in &answered {
            let latest = registry.good(Method::GET, &format!("/subjects/{subject}/versions/latest"), None);
            assert_eq!(latest["id"], *id, "{subject}");
        }
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (registry, stop) = (&registry, &stop);
            let write = move |thread: usize| {
                let mut done = Vec::new();
                for number in 0.. {
                    let subject = format!("s-{round}-{thread}-{number}");
                    let body = schema(&format!(r#"{{"type":"fixed","name":"F{number}","size":{}}}"#, thread + 1));
                    let request = registry.client.post(format!("{}/subjects/{subject}/versions", registry.url));
                    let sent = request.header("Content-Type", TYPE).body(body.to_string()).send();
                    match sent.and_then(|response| response.json::<Value>()) {
                        Ok(answer) => done.push((subject, answer["id"].as_i64().unwrap())),
                        Err(_) => break,
                    }
                    if done.len() > 25 {
                        stop.store(true, std::sync::atomic::Ordering::SeqCst);
                    }
                }
                done
            };
            let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || write(thread))).collect();
            let runner: Runner = server.runner;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
            runner.kill();
            threads.into_iter().for_each(|thread| answered.extend(thread.join().unwrap()));
        });
    }
    assert!(answered.len() > 75, "{}", answered.len());
    let server = start();
    let registry = Asked::at(server.registry.clone().unwrap());
    let ids: std::collections::BTreeMap<i64, Vec<String>> = answered.iter().fold(
        Default::default(),
        |mut ids: std::collections::BTreeMap<i64, Vec<String>>, (subject, id)| {
            ids.entry(*id).or_default().push(subject.clone());
            ids
        },
    );
    for (id, subjects) in ids {
        let known = registry.good(Method::GET, &format!("/schemas/ids/{id}/subjects"), None);
        assert!(subjects.iter().all(|subject| known.as_array().unwrap().contains(&json!(subject))), "{id}: {known}");
    }
}
