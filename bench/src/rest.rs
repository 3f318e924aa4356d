//! How long a server takes to answer while a pipeline of its own reads a Kafka topic into windows as fast as it can.
//!
//! One client asks, one request after the other, each on a connection of its own, as curl does: a connector's status, the list
//! with all statuses, and now and then a connector that is posted, waited for and deleted. The pipeline ends with its topic
//! and is submitted again at once under another name; only answers that came while one was running count.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::measure::Running;
use crate::report::medians;
use crate::work::{Bench, Values};

const PATIENCE: Duration = Duration::from_secs(60);
/// Connectors that are there all the time.
const IDLE: usize = 20;
/// So many reads for each connector that comes and goes.
const READS: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);

pub fn measure(bench: &Bench, runs: usize, seconds: u64) -> Result<Values> {
    bench.fill("bench_ratings", bench.records_at_most(u64::MAX))?;
    bench.empty("bench_windows")?;
    let mut all = Vec::new();
    for _ in 0..runs {
        let values = once(bench, Duration::from_secs(seconds))?;
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
        eprintln!("rest: {}", shown.join(", "));
        all.push(values);
    }
    bench.admin.delete("bench_windows")?;
    Ok(medians(&all))
}

fn once(bench: &Bench, measured: Duration) -> Result<Values> {
    let room = bench.room()?;
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--brokers", &bench.servers.brokers];
    let running = Running::start(&bench.runner, &arguments, &room)?;
    let server = Server { at: address(&running)? };
    for number in 0..IDLE {
        server.done("PUT", &format!("/connectors/idle-{number}/config"), Some(&idle()), 201)?;
    }
    (0..IDLE).try_for_each(|number| server.until_running(&format!("idle-{number}")).map(drop))?;
    let work = Work { connection: std::fs::read_to_string(room.join("connection.yaml"))?, ..Work::default() };
    let asked = std::thread::scope(|scope| {
        let busy = scope.spawn(|| work.keep_busy(&server));
        let asked = Asked::ask(&server, &work, measured);
        work.over.store(true, Relaxed);
        busy.join().map_err(|_| "the thread that submits panicked")??;
        asked
    })?;
    running.interrupt();
    running.end()?;
    asked.values(&work)
}

/// Where it says that it serves.
fn address(running: &Running) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = running.said()?;
        let at = said.split_once("serving at http://").and_then(|(_, rest)| rest.split_once([';', ',', '\n']));
        if let Some((at, _)) = at {
            return Ok(at.trim().to_owned());
        }
        if Instant::now() > deadline || running.has_ended() {
            return Err(format!("it does not serve:\n{said}").into());
        }
        std::thread::sleep(PAUSE);
    }
}

/// A connector whose first record comes in days.
fn idle() -> Value {
    json!({
        "connector.class": "DatagenConnector", "kafka.topic": "bench_idle", "quickstart": "users",
        "max.interval": 1_000_000_000, "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": false,
    })
}

struct Server {
    at: String,
}

impl Server {
    /// A status and the body.
    fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.at)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let at = &self.at;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: {kind}\r\n");
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let status = text.split(' ').nth(1).ok_or("an answer without a status")?.parse()?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    fn done(&self, method: &str, path: &str, body: Option<&Value>, expected: u16) -> Result<String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let (status, answer) = self.send(method, path, "application/json", &body)?;
        if status != expected {
            return Err(format!("{method} {path}: {status} {answer}").into());
        }
        Ok(answer)
    }

    /// Waits until the task of a connector runs.
    fn until_running(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status: Value =
                serde_json::from_str(&self.done("GET", &format!("/connectors/{name}/status"), None, 200)?)?;
            if status["tasks"][0]["state"] == "RUNNING" {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("`{name}` does not run: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The pipeline that keeps the server busy.
#[derive(Default)]
struct Work {
    connection: String,
    over: AtomicBool,
    /// One is running now.
    runs: AtomicBool,
    /// Records read, and the time in which they were.
    read: Mutex<(f64, Duration)>,
}

impl Work {
    fn keep_busy(&self, server: &Server) -> Result<()> {
        let spec = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/rest.yaml"))?;
        for round in 0.. {
            let name = format!("bench-rest-{round}");
            let body = format!("{}---\n{}", self.connection, spec.replace("bench-rest", &name));
            let path = format!("/v1/pipelines/{name}");
            let (status, answer) = server.send("PUT", &path, "application/yaml", &body)?;
            if status != 201 {
                return Err(format!("PUT {path}: {status} {answer}").into());
            }
            let ended = self.attend(server, &path)?;
            server.done("DELETE", &path, None, 204)?;
            if !ended {
                break;
            }
        }
        Ok(())
    }

    /// Waits for its end; false: there is no time left.
    fn attend(&self, server: &Server, path: &str) -> Result<bool> {
        let mut since = None;
        loop {
            let shown: Value = serde_json::from_str(&server.done("GET", path, None, 200)?)?;
            let state = shown["state"].as_str().unwrap_or_default();
            if state == "failed" || state == "restarting" {
                return Err(format!("the pipeline failed: {shown}").into());
            }
            self.runs.store(state == "running", Relaxed);
            if state == "running" {
                since.get_or_insert_with(Instant::now);
            }
            let (ended, over) = (state == "ended", self.over.load(Relaxed));
            if ended || over {
                self.runs.store(false, Relaxed);
                let rows = shown["metrics"]["rows_in"].as_f64().ok_or_else(|| format!("no `rows_in`: {shown}"))?;
                let mut read = self.read.lock().map_err(|_| "a thread panicked")?;
                (read.0, read.1) = (read.0 + rows, read.1 + since.map_or(Duration::ZERO, |since| since.elapsed()));
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What was asked, and how many milliseconds each answer took.
#[derive(Default)]
struct Asked {
    status: Vec<f64>,
    list: Vec<f64>,
    post: Vec<f64>,
    /// From the request of the POST to a status RUNNING.
    running: Vec<f64>,
    delete: Vec<f64>,
}

impl Asked {
    fn ask(server: &Server, work: &Work, measured: Duration) -> Result<Asked> {
        let mut asked = Asked::default();
        let deadline = Instant::now() + measured;
        for number in 0.. {
            if Instant::now() > deadline {
                break;
            }
            for _ in 0..READS {
                let took = timed(|| server.done("GET", "/connectors/idle-0/status", None, 200))?;
                note(&mut asked.status, took, work);
                let took = timed(|| server.done("GET", "/connectors?expand=status", None, 200))?;
                note(&mut asked.list, took, work);
                std::thread::sleep(PAUSE);
            }
            let name = format!("comes-{number}");
            let body = json!({ "name": name, "config": idle() });
            let begun = Instant::now();
            let took = timed(|| server.done("POST", "/connectors", Some(&body), 201))?;
            note(&mut asked.post, took, work);
            server.until_running(&name)?;
            note(&mut asked.running, begun.elapsed(), work);
            let took = timed(|| server.done("DELETE", &format!("/connectors/{name}"), None, 204))?;
            note(&mut asked.delete, took, work);
        }
        Ok(asked)
    }

    fn values(mut self, work: &Work) -> Result<Values> {
        let read = *work.read.lock().map_err(|_| "a thread panicked")?;
        let mut values = Values::from([
            ("reads", (self.status.len() + self.list.len()) as f64),
            ("posts", self.post.len() as f64),
            ("records_per_second", read.0 / read.1.as_secs_f64()),
        ]);
        let lists: [(&mut Vec<f64>, [&'static str; 2]); 5] = [
            (&mut self.status, ["status_p50_ms", "status_p99_ms"]),
            (&mut self.list, ["list_p50_ms", "list_p99_ms"]),
            (&mut self.post, ["post_p50_ms", "post_p99_ms"]),
            (&mut self.running, ["post_to_running_p50_ms", "post_to_running_p99_ms"]),
            (&mut self.delete, ["delete_p50_ms", "delete_p99_ms"]),
        ];
        for (took, names) in lists {
            if took.is_empty() {
                return Err(format!("no `{}`: `--seconds` or `--records` is too small", names[0]).into());
            }
            took.sort_by(f64::total_cmp);
            let percentile = |percent: usize| took[took.len() * percent / 100];
            values.extend(names.into_iter().zip([percentile(50), percentile(99)]));
        }
        Ok(values)
    }
}

fn timed<T>(ask: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    ask().map(|_| begun.elapsed())
}

/// Counts only while there is something beside it.
fn note(all: &mut Vec<f64>, took: Duration, work: &Work) {
    if work.runs.load(Relaxed) {
        all.push(took.as_secs_f64() * 1e3);
    }
}
