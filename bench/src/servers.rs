//! A Kafka broker and a schema registry: the ones of the tests' scripts, or those that are named.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Result;

/// Where the servers are. They end with this.
pub struct Servers {
    pub brokers: String,
    pub registry: String,
    scripts: Vec<Child>,
}

impl Servers {
    pub fn start() -> Result<Servers> {
        let mut scripts = Vec::new();
        let brokers = named_or_started("RUNNER_TEST_KAFKA", "kafka.sh", &mut scripts)?;
        let registry = named_or_started("RUNNER_TEST_REGISTRY", "registry.sh", &mut scripts)?;
        Ok(Servers { brokers, registry, scripts })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for script in &mut self.scripts {
            // A script takes its server down when its standard input is closed.
            drop(script.stdin.take());
            let _ = script.wait();
        }
    }
}

fn named_or_started(variable: &str, script: &str, scripts: &mut Vec<Child>) -> Result<String> {
    if let Ok(address) = std::env::var(variable) {
        return Ok(address);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers").join(script);
    let mut command = Command::new("bash");
    command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut address = String::new();
    BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut address)?;
    if address.is_empty() {
        let mut said = String::new();
        child.stderr.take().ok_or("no pipe")?.read_to_string(&mut said)?;
        return Err(format!("{script}: {}", said.trim()).into());
    }
    scripts.push(child);
    Ok(address.trim().to_owned())
}
