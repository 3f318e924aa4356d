//! Kafka Connect's REST API, held against Kafka Connect: `tests/data/connect-rest.json` has requests, one after the
//! other, and what the genuine one answered. `BLESS=1` asks it again (`tests/servers/connect.sh`).
//!
//! A step is a request (`send`), lines that appear in the file which a connector reads (`lines`), or something to be
//! waited for (`until`, at a place of an answer). `same: status`: only the status is compared, because the body is a
//! matter of the process or another test's. `ours`: what we answer where Connect has a defect.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Server;
use crate::runner::PATIENCE;
use crate::specs::Folder;

const RECORDED: &str = "tests/data/connect-rest.json";

/// A status, the headers by their names in small letters, the body.
pub struct Answer {
    pub status: u64,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, or as a text.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.body)))
    }
}

/// Sends a request as it is: what clients' libraries mend in paths and headers is not mended.
pub fn send(at: &str, method: &str, path: &str, headers: &[(String, String)], body: Option<&[u8]>) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(body.unwrap_or_default()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    answer(&bytes)
}

fn answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let split = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(split).collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
        body = unchunked(&body);
    }
    Answer { status, headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
    body
}

/// Plays the steps against a server; gives them back with what it answered.
struct Play<'a> {
    at: &'a str,
    folder: &'a Path,
    /// Answers whose headers are not Connect's.
    wrong_headers: RefCell<Vec<String>>,
}

impl<'a> Play<'a> {
    fn new(at: &'a str, folder: &'a Path) -> Play<'a> {
        Play { at, folder, wrong_headers: RefCell::default() }
    }

    fn run(&self, steps: &[Value]) -> Vec<Value> {
        std::fs::write(self.folder.join("lines.txt"), "").unwrap();
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&self, step: &Value) -> Value {
        let mut step = step.clone();
        if let Some(lines) = step["lines"].as_array() {
            let text: String = lines.iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
            let file = std::fs::OpenOptions::new().append(true).open(self.folder.join("lines.txt"));
            file.unwrap().write_all(text.as_bytes()).unwrap();
        } else if step.get("until").is_some() {
            self.wait(&step);
        } else if let Some(request) = step["send"].as_str() {
            let (method, path) = request.split_once(' ').unwrap();
            let answer = self.answer(method, path, &step);
            if let Some(wrong) = wrong_headers(method, &answer) {
                self.wrong_headers.borrow_mut().push(format!("{method} {path}: {wrong}: {:?}", answer.headers));
            }
            step["answer"] = self.shown(&answer, step["same"] == "status");
        }
        step
    }

    fn wait(&self, step: &Value) {
        let path = step["until"].as_str().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = send(self.at, "GET", path, &[], None).json();
            let found = found.pointer(step["at"].as_str().unwrap()).cloned().unwrap_or_default();
            if found == step["is"] {
                return;
            }
            assert!(Instant::now() < deadline, "{step} never came; it is {found}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answer(&self, method: &str, path: &str, step: &Value) -> Answer {
        let folder = self.folder.to_str().unwrap();
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in step["headers"].as_object().into_iter().flatten() {
            headers.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
        let text = match step.get("json") {
            Some(json) => {
                headers.push(("Content-Type".into(), "application/json".into()));
                Some(json.to_string())
            }
            None => step["text"].as_str().map(str::to_owned),
        };
        let text = text.map(|text| text.replace("{dir}", folder));
        send(self.at, method, path, &headers, text.as_ref().map(String::as_bytes))
    }

    /// What is compared: without what differs from process to process.
    fn shown(&self, answer: &Answer, only_status: bool) -> Value {
        let mut shown = Map::new();
        shown.insert("status".into(), answer.status.into());
        if let Some(location) = answer.header("location") {
            // Some encode more of a name than they must.
            let location = location.replace(self.at, "HOST").replace("%2B", "+").replace("%3B", ";");
            shown.insert("location".into(), location.into());
        }
        if !only_status {
            shown.insert("body".into(), self.plain(answer.json()));
        }
        Value::Object(shown)
    }

    fn plain(&self, json: Value) -> Value {
        match json {
            Value::Object(fields) => {
                let field = |(key, value): (String, Value)| match key.as_str() {
                    "worker_id" | "commit" | "kafka_cluster_id" => (key, "its own".into()),
                    _ => (key, self.plain(value)),
                };
                Value::Object(fields.into_iter().map(field).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.plain(item)).collect()),
            Value::String(text) => text.replace(self.folder.to_str().unwrap(), "{dir}").into(),
            other => other,
        }
    }
}

/// What clients' libraries look at, beside status and place: the type and length of what comes. `None`: nothing is wrong.
fn wrong_headers(method: &str, answer: &Answer) -> Option<&'static str> {
    let (kind, length) = (answer.header("content-type"), answer.header("content-length"));
    let is_chunked = answer.header("transfer-encoding") == Some("chunked");
    match (answer.status, answer.body.is_empty()) {
        // They say what GET would.
        _ if method == "HEAD" || method == "OPTIONS" => None,
        (204, true) => (kind.is_some() || length.is_some()).then_some("204 has neither length nor type"),
        (202, true) => {
            (kind.is_some() || length != Some("0")).then_some("202 without a body has a length of 0 and no type")
        }
        (_, true) => Some("there is no body"),
        (204, false) => Some("204 has a body"),
        // Refused before Connect looks at it, by its framework, in HTML.
        (_, false) if kind.is_none_or(|kind| kind != "application/json") => Some("it is JSON"),
        (_, false) if is_chunked => None,
        (_, false) => (length != Some(&answer.body.len().to_string())).then_some("the length is another"),
    }
}

/// A connector without a class, or with one that nobody has, is refused in Connect's words, and is not there.
#[test]
fn a_connector_needs_a_class_that_there_is() {
    let folder = Folder::new();
    let server = Server::start(folder.path(), &[]);
    let at = server.api.strip_prefix("http://").unwrap();
    let json = [("Content-Type".to_owned(), "application/json".to_owned())];
    let sent = |method: &str, path: &str, body: Value| {
        let answer = send(at, method, path, &json, Some(body.to_string().as_bytes()));
        assert_eq!(wrong_headers(method, &answer), None, "{:?}", answer.headers);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.json()["error_code"], answer.status);
        (answer.status, message)
    };
    let none = (400, "Connector config {name=x} contains no connector type".to_owned());
    assert_eq!(sent("POST", "/connectors", json!({ "name": "x", "config": {} })), none);
    assert_eq!(sent("POST", "/connectors", json!({ "name": "x", "config": { "name": "x" } })), none);
    assert_eq!(sent("PUT", "/connectors/x/config", json!({})), none);
    let known = ["FileStreamSinkConnector", "FileStreamSourceConnector", "DatagenConnector"];
    for class in ["com.nope.Nope", ""] {
        let begin = format!(
            "Failed to find any class that implements Connector and which name matches {class}, available connectors are: PluginDesc{{klass=class "
        );
        let config = json!({ "connector.class": class });
        for (status, message) in [
            sent("POST", "/connectors", json!({ "name": "x", "config": config })),
            sent("PUT", "/connectors/x/config", config.clone()),
        ] {
            assert!(status == 400 && message.starts_with(&begin), "{status} {message}");
            assert!(known.iter().all(|known| message.contains(known)), "{message}");
        }
    }
    let (status, message) = sent("PUT", "/connector-plugins/com.nope.Nope/config/validate", json!({}));
    assert!(status == 500 && message.contains("contains no connector type"), "{status} {message}");
    assert_eq!(send(at, "GET", "/connectors", &[], None).json(), json!([]));
}

fn recorded() -> (PathBuf, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED);
    let steps = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    (path, steps)
}

#[test]
fn every_request_is_answered_as_kafka_connect_answers_it() {
    let folder = Folder::new();
    let (path, mut steps) = recorded();
    if std::env::var("BLESS").is_ok() {
        let genuine = crate::servers::Connect::start();
        steps = Play::new(&genuine.address, folder.path()).run(&steps);
        let lines: Vec<String> = steps.iter().map(Value::to_string).collect();
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    let broker = crate::servers::Broker::start_with("auto.create.topics.enable=true");
    let server = Server::start(folder.path(), &["--brokers", &broker.address]);
    let at = server.api.strip_prefix("http://").unwrap();
    let play = Play::new(at, folder.path());
    let played = play.run(&steps);
    let mut wrong = play.wrong_headers.into_inner();
    for (genuine, ours) in steps.iter().zip(&played) {
        let (theirs, ours) = (&genuine["answer"], &ours["answer"]);
        let is_same = match genuine.get("ours") {
            Some(status) => ours["status"] == *status,
            None => theirs == ours,
        };
        if !is_same {
            let mut sent = genuine.clone();
            sent.as_object_mut().unwrap().remove("answer");
            wrong.push(format!("{sent}\n  Connect: {theirs}\n  we:      {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}
