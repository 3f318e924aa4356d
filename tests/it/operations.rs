//! What is run around `runner`: the compose file, the image, the service unit, completions and the manual page.
//!
//! No image can be pulled in a test; what is checked is that the files fit one another, the product and the
//! servers that the other tests run.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::runner::{Ended, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compose() -> Value {
    serde_norway::from_str(&file("docker-compose.yml")).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// `A://x,B://y` or `A:x,B:y` by name.
fn by_name<'t>(text: &'t str, separator: &str) -> BTreeMap<&'t str, &'t str> {
    text.split(',').map(|part| part.split_once(separator).unwrap()).collect()
}

#[test]
fn every_server_of_the_compose_file_is_pinned_checked_and_on_its_port() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let ports = [("kafka", "9092"), ("registry", "8081"), ("ui", "8080"), ("postgres", "5432")];
    for (name, port) in ports {
        let service = &services[name];
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').expect("an image has a tag").1;
        assert!(tag.split('.').count() >= 2 && tag.trim_start_matches('v').starts_with(char::is_numeric), "{image}");
        assert_eq!(strings(&service["ports"]), [format!("127.0.0.1:{port}:{port}")], "{name}");
        assert!(!strings(&service["healthcheck"]["test"]).is_empty(), "{name} has no health check");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
    }
    assert_eq!(services.len(), ports.len() + 1);
    // Whom somebody waits for can be found healthy.
    for (name, service) in services {
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(how["condition"], "service_healthy", "{name}");
            assert!(services[other]["healthcheck"].is_object(), "{name} waits for {other}");
        }
    }
    // The broker is the one that the tests run.
    let pom = file("tests/servers/pom.xml");
    let version = pom.split_once("<artifactId>kafka_2.13</artifactId>").unwrap().1;
    let version = version.split_once("<version>").unwrap().1.split_once('<').unwrap().0;
    assert_eq!(services["kafka"]["image"], format!("apache/kafka:{version}"));
}

#[test]
fn volumes_of_the_compose_file_are_declared_and_its_folders_are_there() {
    let compose = compose();
    let mut used = Vec::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in strings(&service["volumes"]) {
            let from = volume.split(':').next().unwrap();
            match from.starts_with("./") {
                true => assert!(root().join(from).exists(), "{name}: {from} is not there"),
                false => used.push(from.to_owned()),
            }
        }
    }
    used.sort();
    let declared: Vec<&String> = compose["volumes"].as_object().unwrap().keys().collect();
    assert_eq!(used.iter().collect::<Vec<_>>(), declared);
    let kafka = &compose["services"]["kafka"];
    let data = kafka["environment"]["KAFKA_LOG_DIRS"].as_str().unwrap();
    assert_eq!(strings(&kafka["volumes"]), [format!("kafka-data:{data}")], "the volume is where the broker writes");
}

#[test]
fn the_brokers_listeners_fit_the_built_in_connection_and_the_other_containers() {
    let compose = compose();
    let kafka = &compose["services"]["kafka"]["environment"];
    let setting = |name: &str| kafka[name].as_str().unwrap();
    let listeners = by_name(setting("KAFKA_LISTENERS"), "://");
    let advertised = by_name(setting("KAFKA_ADVERTISED_LISTENERS"), "://");
    let protocols = by_name(setting("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"), ":");
    let controller = setting("KAFKA_CONTROLLER_LISTENER_NAMES");
    for (name, address) in &listeners {
        assert!(protocols.contains_key(name), "{name} has no protocol");
        let port = address.rsplit_once(':').unwrap().1;
        match advertised.get(name) {
            Some(advertised) => assert!(advertised.ends_with(&format!(":{port}")), "{name} is elsewhere"),
            None => assert_eq!(*name, controller),
        }
    }
    assert_eq!(advertised.len() + 1, listeners.len());
    assert!(advertised.contains_key(setting("KAFKA_INTER_BROKER_LISTENER_NAME")));
    let voter = setting("KAFKA_CONTROLLER_QUORUM_VOTERS");
    assert_eq!(voter, format!("{}@kafka{}", setting("KAFKA_NODE_ID"), listeners[controller]));

    // The built-in connection, as `plan` without any declaration shows it.
    let dir = tempfile::tempdir().unwrap();
    let spec = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: p }\nspec:\n  sources: { a: { kafka: { topic: t }, format: avro } }\n  sinks: { b: { from: a, console: {} } }\n";
    std::fs::write(dir.path().join("p.yaml"), spec).unwrap();
    let said = run(&["plan", "p.yaml"], dir.path()).stderr;
    assert!(said.contains(&format!("`{}`", advertised["HOST"])) || said.contains("8081"), "{said}");
    assert_eq!(advertised["HOST"], "localhost:9092");

    // Everybody inside uses the other one, `runner` by its connection.
    let inside = advertised["INTERNAL"];
    let ui = &compose["services"]["ui"]["environment"];
    assert_eq!(ui["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"], *inside);
    let registry = &compose["services"]["registry"]["environment"];
    assert_eq!(registry["SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS"], format!("PLAINTEXT://{inside}"));
    let connection: Value = serde_norway::from_str(&file("deploy/connection.yaml")).unwrap();
    assert_eq!(connection["spec"]["kafka"]["brokers"], *inside);
    assert_eq!(connection["spec"]["registry"]["url"], "http://registry:8081");
    assert_eq!(ui["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"], "http://registry:8081");
}

#[test]
fn the_runner_of_the_compose_file_runs_what_is_there() {
    let compose = compose();
    let runner = &compose["services"]["runner"];
    assert_eq!(strings(&runner["profiles"]), ["runner"], "servers alone are the default");
    let mounts: BTreeMap<&str, &str> = strings(&runner["volumes"])
        .into_iter()
        .map(|volume| volume.split_once(':').unwrap())
        .map(|(from, to)| (to.trim_end_matches(":ro"), from))
        .collect();
    // Its command with the default pipeline, on the files that are mounted.
    let command = strings(&runner["command"]);
    assert_eq!(command[0], "apply");
    let outside = |inside: &str| {
        let inside = inside.replace("${PIPELINE:-", "").replace('}', "");
        let (to, from) = mounts.iter().find(|(to, _)| inside.starts_with(**to)).expect("it is mounted");
        inside.replacen(to, from, 1)
    };
    let mut validate = vec!["validate".to_owned()];
    validate.extend(command[1..].iter().map(|path| outside(path)));
    run(&validate.iter().map(String::as_str).collect::<Vec<_>>(), root()).with_code(0);
    // What a spec names beside itself is mounted beside it.
    assert_eq!(mounts["/etc/runner/schemas"], "./schemas");
    // State outlives the container.
    let state = mounts.iter().find(|(_, from)| **from == "runner-state").unwrap().0;
    assert!(file("Dockerfile").contains(&format!("WORKDIR {state}\nVOLUME {state}\n")));
}

#[test]
fn the_image_is_built_by_the_projects_compiler_and_runs_as_nobody() {
    let image = file("Dockerfile");
    let from: Vec<&str> = image.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let version = file("Cargo.toml");
    let version = version.split_once("rust-version = \"").unwrap().1.split('"').next().unwrap();
    assert_eq!(from, [&format!("rust:{version}-bookworm AS build"), "debian:bookworm-slim"]);
    let (user, entry) = (image.find("\nUSER ").unwrap(), image.find("\nENTRYPOINT ").unwrap());
    assert!(user < entry && !image.contains("USER root") && !image.contains("USER 0"));
    // What the build needs is sent to it; nothing that is left of a run is.
    let ignored = file(".dockerignore");
    let sent: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"));
    assert!(sent.iter().all(|path| root().join(path).exists()) && sent.contains(&"src"), "{sent:?}");
}

#[test]
fn the_service_stops_softly_and_is_not_started_again_in_vain() {
    let unit = file("deploy/runner@.service");
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    assert_eq!(setting("KillSignal"), Some("SIGTERM"));
    assert_eq!(setting("Restart"), Some("on-failure"));
    assert_eq!(setting("RestartPreventExitStatus"), Some("2 3"));
    assert_eq!(setting("WorkingDirectory").map(|path| path.trim_start_matches("/var/lib/")), setting("StateDirectory"));
    // The command line is one that exists.
    let command = setting("ExecStart").unwrap().split_whitespace().skip(1).map(|word| word.replace("%i", "NAME"));
    let command: Vec<String> = command.chain(["--help".to_owned()]).collect();
    run(&command.iter().map(String::as_str).collect::<Vec<_>>(), root()).with_code(0);
}

/// Every verb that `--help` lists.
fn verbs() -> Vec<String> {
    let Ended { stdout, .. } = run(&["--help"], root()).with_code(0);
    let commands = stdout.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let listed = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let verbs: Vec<String> = listed.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(verbs.len() > 7, "{stdout}");
    verbs.into_iter().filter(|verb| verb != "help").collect()
}

#[test]
fn completions_and_the_manual_page_know_every_verb() {
    for what in ["bash", "zsh", "fish", "elvish", "powershell", "man"] {
        let ended = run(&["completions", what], root()).with_code(0);
        for verb in verbs() {
            let wanted = if what == "man" { format!(".SH \"RUNNER {}", verb.to_uppercase()) } else { verb };
            assert!(ended.stdout.contains(&wanted), "{what} does not know {wanted}");
        }
        assert!(ended.stdout.contains("until"), "{what} knows no options");
        assert_eq!(ended.stderr, "");
    }
    let manual = run(&["completions", "man"], root()).stdout;
    for section in ["NAME", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES", "\"RUNNER JOURNAL SHOW\""] {
        assert!(manual.contains(&format!(".SH {section}\n")), "{section}: {manual}");
    }
    // A shell takes its script.
    let script = run(&["completions", "bash"], root()).stdout;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("runner.bash"), script).unwrap();
    let asked = "source runner.bash; COMP_WORDS=(runner app); COMP_CWORD=1; _runner runner app runner; echo \"${COMPREPLY[*]}\"";
    let answer = std::process::Command::new("bash").args(["-c", asked]).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "apply", "{answer:?}");
    run(&["completions", "tcsh"], root()).with_code(2);
}
