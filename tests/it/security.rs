//! Logins and TLS, against a broker that demands them: who is let in, and what those hear who are not.
//!
//! Every refusal names the cause and the connection within two seconds. Those that only other settings mend
//! end with 2 before anything starts; a server that may come, or come to itself, is waited for. No output of
//! any command holds a secret.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runner::connectors::kafka::{Cluster, Topics};
use runner::registry::http::PLAN_PATIENCE;
use runner::registry::{Auth, HttpRegistry, Registry, Settings, Tls};

use crate::certificates::Certificates;
use crate::doorman::{Demands, Doorman};
use crate::runner::{Ended, Runner};
use crate::servers::{self, Broker, GuardedBroker, PASSWORD, TestRecord, guarded_kafka};
use crate::specs::Folder;

type Properties<'a> = &'a [(&'a str, &'a str)];

fn ca(broker: &GuardedBroker) -> String {
    broker.certificates.path("ca.pem").to_string_lossy().into_owned()
}

/// A pipeline that copies a topic of the guarded broker; `properties` stand as they are written in YAML.
fn copies(folder: &Folder, brokers: &str, properties: Properties<'_>, topic: &str) {
    let properties: String = properties.iter().map(|(name, value)| format!("        {name}: {value}\n")).collect();
    folder.write(
        "connection.yaml",
        &format!(
            "apiVersion: runner/v1\nkind: Connection\nmetadata: {{ name: guarded }}\nspec:\n  kafka:\n    brokers: \"{brokers}\"\n    properties:\n{properties}        client.id: test\n"
        ),
    );
    folder.pipeline(
        "copy",
        &format!(
            "  sources: {{ numbers: {{ connection: guarded, kafka: {{ topic: {topic}, until: end }}, format: json, columns: {{ n: long }} }} }}\n  sinks: {{ copy: {{ from: numbers, connection: guarded, kafka: {{ topic: {topic}-copy }}, format: json }} }}\n"
        ),
    );
}

/// A topic with three records at the guarded broker.
fn numbers(broker: &GuardedBroker, name: &str) -> String {
    let topic = servers::unique(name);
    servers::create_topic(&broker.open, &topic, 2, &[]);
    let records = (0..3).map(|n| TestRecord::to(n % 2, format!("{{\"n\":{n}}}")));
    servers::produce_many(&broker.open, &topic, records);
    topic
}

/// Runs the copy to its end: source, sink, administration and journal all went through the guarded listener.
fn copied(folder: &Folder, broker: &GuardedBroker, topic: &str, what: &str) -> Ended {
    let variables = [("ALICE_PASSWORD", PASSWORD)];
    let ended = Runner::spawn_with(&["apply", ".", "-vv"], folder.path(), &variables).wait().with_code(0);
    let mut copy: Vec<String> =
        servers::read_at(&broker.open, &format!("{topic}-copy")).iter().map(TestRecord::text).collect();
    copy.sort();
    assert_eq!(copy, ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"], "{what}");
    ended
}

#[test]
fn a_pipeline_runs_exactly_once_through_every_login() {
    let broker = guarded_kafka();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let topic = numbers(broker, "login");
        let folder = Folder::new();
        let properties = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "alice"),
            ("sasl.password", "\"${secret:env:ALICE_PASSWORD}\""),
            // All that librdkafka says of what it does.
            ("debug", "all"),
        ];
        copies(&folder, &broker.login, &properties, &topic);
        let ended = copied(&folder, broker, &topic, mechanism);
        assert!(!format!("{ended:?}").contains(PASSWORD), "{mechanism}: {}", ended.stderr);
    }
}

#[test]
fn a_pipeline_runs_through_tls_with_certificates_by_path_and_inline() {
    let broker = guarded_kafka();
    let certificates = &broker.certificates;
    let run = |name: &str, brokers: &str, properties: Properties<'_>| {
        let topic = numbers(broker, name);
        let folder = Folder::new();
        for file in ["ca.pem", "client.pem", "client.key"] {
            folder.write(&format!("secrets/{file}"), &certificates.text(file));
        }
        copies(&folder, brokers, properties, &topic);
        let ended = copied(&folder, broker, &topic, name);
        let key = certificates.text("client.key");
        let line = key.lines().nth(1).unwrap();
        assert!(!format!("{ended:?}").contains(line), "the key is in the output");
    };
    // Paths begin at the folder of the document.
    let by_path: Properties<'_> = &[("security.protocol", "ssl"), ("ssl.ca.location", "secrets/ca.pem")];
    run("tls", &broker.tls, by_path);
    let client: Properties<'_> =
        &[("ssl.certificate.location", "secrets/client.pem"), ("ssl.key.location", "secrets/client.key")];
    run("mutual", &broker.mutual, &[by_path, client].concat());
    let inline = [
        ("security.protocol", "ssl"),
        ("ssl.ca.pem", "\"${secret:file:secrets/ca.pem}\""),
        ("ssl.certificate.pem", "\"${secret:file:secrets/client.pem}\""),
        ("ssl.key.pem", "\"${secret:file:secrets/client.key}\""),
        ("debug", "all"),
    ];
    run("inline", &broker.mutual, &inline);
    let login = [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "alice"),
        ("sasl.password", "\"${secret:env:ALICE_PASSWORD}\""),
        ("ssl.ca.location", "secrets/ca.pem"),
    ];
    run("both", &broker.login_tls, &login);
}

/// What connecting to a broker ends with, which must be within two seconds (and as much for a busy machine).
fn refusal(brokers: &str, properties: Properties<'_>) -> (&'static str, bool, String) {
    let properties: BTreeMap<String, String> =
        properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let cluster = Cluster::new(brokers, properties).unwrap();
    let cluster = Cluster { connection: "guarded".into(), ..cluster };
    let asked = Instant::now();
    let failure = Topics::connect(&cluster).map(|_| ()).unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}: {failure}", asked.elapsed());
    let told = format!("{failure}\n{}", failure.hint.as_deref().unwrap_or_default());
    assert!(told.contains(&format!("`{brokers}` (connection `guarded`)")), "{told}");
    (failure.code, failure.retry, told)
}

#[test]
fn every_refusal_names_its_cause_within_two_seconds() {
    let broker = guarded_kafka();
    let ca = ca(broker);
    let file = |name: &str| broker.certificates.path(name).to_string_lossy().into_owned();
    let (stranger, stranger_client, stranger_key) =
        (file("stranger.pem"), file("stranger-client.pem"), file("stranger-client.key"));
    let tls: Properties<'_> = &[("security.protocol", "ssl"), ("ssl.ca.location", &ca)];
    let login = |mechanism: &'static str, password: &'static str| {
        [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "alice"),
            ("sasl.password", password),
        ]
    };
    let other_client =
        [tls, &[("ssl.certificate.location", stranger_client.as_str()), ("ssl.key.location", stranger_key.as_str())]]
            .concat();
    let strangers = [("security.protocol", "ssl"), ("ssl.ca.location", stranger.as_str())];
    let none = Vec::new();
    type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str, bool, &'a str);
    let cases: [Case<'_>; 15] = [
        (
            "wrong password",
            &broker.login,
            login("PLAIN", "wrong").to_vec(),
            "kafka.authentication",
            false,
            "does not let us in: SASL authentication error",
        ),
        (
            "wrong password (SCRAM)",
            &broker.login,
            login("SCRAM-SHA-256", "wrong").to_vec(),
            "kafka.authentication",
            false,
            "does not let us in",
        ),
        (
            "unknown CA",
            &broker.tls,
            strangers.to_vec(),
            "kafka.certificate",
            false,
            "is issued by nobody whom this connection trusts (unknown CA)",
        ),
        ("system's CAs", &broker.tls, vec![("security.protocol", "ssl")], "kafka.certificate", false, "(unknown CA)"),
        ("expired", &broker.expired, tls.to_vec(), "kafka.certificate", false, "has expired"),
        ("other host", &broker.elsewhere, tls.to_vec(), "kafka.certificate", false, "is for another host name"),
        (
            "no client certificate",
            &broker.mutual,
            tls.to_vec(),
            "kafka.certificate",
            false,
            "wants a client certificate",
        ),
        ("client of another CA", &broker.mutual, other_client, "kafka.certificate", false, "does not accept ours"),
        ("plaintext to TLS", &broker.tls, none.clone(), "kafka.unreachable", true, "hangs up on a client without TLS"),
        ("TLS to plaintext", &broker.open, tls.to_vec(), "kafka.unreachable", true, "does not answer as TLS does"),
        (
            "no login",
            &broker.login,
            none.clone(),
            "kafka.unreachable",
            true,
            "hangs up on a client that does not log in",
        ),
        ("unknown host", "no-such-host.invalid:9092", none.clone(), "kafka.unreachable", true, "Failed to resolve"),
        (
            "a login where none is wanted",
            &broker.open,
            login("PLAIN", "wrong").to_vec(),
            "kafka.authentication",
            false,
            "no login is wanted at this port",
        ),
        (
            "no login, TLS",
            &broker.login_tls,
            tls.to_vec(),
            "kafka.unreachable",
            true,
            "hangs up on a client that does not log in",
        ),
        ("nobody there", "127.0.0.1:1", tls.to_vec(), "kafka.unreachable", true, "Connection refused"),
    ];
    let mut wrong = Vec::new();
    for (what, brokers, properties, code, waited_for, words) in cases {
        let found = refusal(brokers, &properties);
        if (found.0, found.1) != (code, waited_for) || !found.2.contains(words) {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refused_login_ends_apply_with_2_and_names_the_connection_but_no_secret() {
    let broker = guarded_kafka();
    let topic = numbers(broker, "refused");
    let folder = Folder::new();
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "\"${secret:env:ALICE}\""),
        ("sasl.password", "\"${secret:file:password}\""),
        ("debug", "all"),
    ];
    folder.write("password", "wrong-horse-1144\n");
    copies(&folder, &broker.login, &properties, &topic);
    let secrets = ["wrong-horse-1144", "alice-in-wonderland"];
    for arguments in [
        &["apply", ".", "-vv"][..],
        &["plan", ".", "-vv"],
        &["apply", ".", "-vv", "--output", "json", "--log-format", "json"],
    ] {
        let ended = Runner::spawn_with(arguments, folder.path(), &[("ALICE", secrets[1])]).wait().with_code(2);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        let told = format!("the Kafka cluster at `{}` (connection `guarded`) does not let us in", broker.login);
        assert!(text.contains("kafka.authentication") && text.contains(&told), "{text}");
        assert!(text.contains("SASL authentication"), "no cause: {text}");
        let leaked: Vec<&&str> = secrets.iter().filter(|secret| text.contains(**secret)).collect();
        assert!(leaked.is_empty(), "{leaked:?} in the output of {arguments:?}:\n{text}");
    }
    // It is the world that is wrong here, so it is said once and waited for.
    copies(&folder, "no-such-host.invalid:9092", &[], &topic);
    let waiting = folder.apply(&[]);
    let told = waiting.wait_stderr("waiting: ");
    assert!(told.contains("`no-such-host.invalid:9092` (connection `guarded`): Failed to resolve"), "{told}");
    waiting.signal(libc::SIGINT);
    waiting.wait().with_code(0);
}

/// An expired certificate is met when the broker comes back, by a reader and by a writer that reads nothing.
#[test]
fn a_certificate_that_expires_ends_what_runs_and_nothing_is_lost() {
    let certificates = Certificates::make();
    let (mut broker, at) = Broker::start_guarded(&certificates);
    let topic = servers::unique("expiring");
    servers::create_topic(&at.open, &topic, 1, &[]);
    let produce = |numbers: std::ops::Range<i64>| {
        let records = numbers.map(|n| TestRecord::to(0, format!("{{\"n\":{n}}}")));
        servers::produce_many(&at.open, &topic, records);
    };
    produce(0..3);
    let (reads, writes) = (Folder::new(), Folder::new());
    let (ca, made) = (certificates.path("ca.pem"), servers::unique("made"));
    let properties = [("security.protocol", "ssl"), ("ssl.ca.location", ca.to_str().unwrap())];
    copies(&reads, &at.tls, &properties, &topic);
    let copy = reads.read("copy.yaml").replace(", until: end", "");
    reads.write("copy.yaml", &copy);
    copies(&writes, &at.tls, &properties, &topic);
    writes.pipeline(
        "copy",
        &format!(
            "  sources: {{ made: {{ datagen: {{ columns: {{ n: long }}, rate: 1 }} }} }}\n  sinks: {{ out: {{ from: made, connection: guarded, kafka: {{ topic: {made} }}, format: json }} }}\n"
        ),
    );
    let written = |topic: &str| servers::read_at(&at.open, topic).iter().map(TestRecord::text).collect::<Vec<_>>();
    let running = [reads.apply(&[]), writes.apply(&[])];
    running.iter().for_each(|runner| drop(runner.wait_stderr("copy: starts")));
    let until = Instant::now() + Duration::from_secs(60);
    while written(&format!("{topic}-copy")).len() < 3 || written(&made).is_empty() {
        assert!(Instant::now() < until, "nothing was written");
        std::thread::sleep(Duration::from_millis(100));
    }
    let good = certificates.text("broker.pem");
    let restart_with = |broker: &mut Broker, certificate: &str| {
        broker.kill();
        std::fs::write(certificates.path("broker.pem"), certificate).unwrap();
        broker.start_again();
    };
    restart_with(&mut broker, &certificates.text("expired.pem"));
    for runner in running {
        let ended = runner.wait().with_code(1);
        assert!(ended.stderr.contains("error[kafka.certificate]"), "{}", ended.stderr);
        assert!(ended.stderr.contains("has expired"), "{}", ended.stderr);
    }
    // A start finds the same before it changes anything.
    assert!(reads.run("apply", &[]).with_code(2).stderr.contains("has expired"));

    restart_with(&mut broker, &good);
    produce(3..6);
    reads.run("apply", &["--until", "end"]).with_code(0);
    let expected: Vec<String> = (0..6).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(written(&format!("{topic}-copy")), expected);
}

#[test]
fn settings_that_cannot_be_are_told_without_their_secrets() {
    let folder = Folder::new();
    let wrong = [("security.protocol", "\"${secret:env:PROTOCOL}\""), ("ssl.ca.location", "nowhere/ca.pem")];
    copies(&folder, "127.0.0.1:1", &wrong, "t");
    // Nothing can be said of a secret that is not filled in.
    folder.run("validate", &[]).with_code(0);
    let plan = |protocol: &str| Runner::spawn_with(&["plan", "."], folder.path(), &[("PROTOCOL", protocol)]).wait();
    let ended = plan("s3cret-thing").with_code(2);
    assert!(
        ended.stderr.contains("`security.protocol` cannot be what `${secret:env:PROTOCOL}` stands for"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("s3cret-thing"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("error[").count(), 1, "once is enough: {}", ended.stderr);
    let ended = plan("ssl").with_code(2);
    assert!(
        ended.stderr.contains("nowhere/ca.pem` of the Kafka property `ssl.ca.location` cannot be read"),
        "{}",
        ended.stderr
    );
}

// The registry

const TOKEN: &str = "t0ken-of-the-registry";

/// The test registry's `host:port` and path.
fn behind() -> (&'static str, &'static str) {
    servers::registry().strip_prefix("http://").unwrap().split_once('/').unwrap()
}

fn door(certificates: &Certificates, demands: Demands) -> Doorman {
    Doorman::before(behind().0, certificates.folder(), demands)
}

fn asked(url: &str, auth: Auth, tls: Tls) -> Settings {
    Settings {
        connection: "guarded".into(),
        auth,
        tls,
        patience: PLAN_PATIENCE,
        ..Settings::new(format!("{url}/{}", behind().1))
    }
}

fn trusting(certificates: &Certificates, ca: &str) -> Tls {
    Tls { ca: Some(certificates.text(ca)), identity: None }
}

#[test]
fn a_registry_lets_in_by_token_password_and_certificate() {
    let certificates = Certificates::make();
    let basic = "Basic YWxpY2U6cDpz"; // alice, p:s
    let client = Tls {
        identity: Some((certificates.text("client.pem"), certificates.text("client.key"))),
        ..trusting(&certificates, "ca.pem")
    };
    let by_password = Auth::Basic { user: "alice".into(), password: "p:s".into() };
    let cases = [
        (
            Demands { certificate: Some("broker.pem"), authorization: Some("Bearer x.y-z"), ..Demands::default() },
            Auth::Bearer("x.y-z".into()),
            trusting(&certificates, "ca.pem"),
        ),
        (
            Demands { certificate: Some("broker.pem"), authorization: Some(basic), ..Demands::default() },
            by_password,
            trusting(&certificates, "ca.pem"),
        ),
        (
            Demands { certificate: Some("broker.pem"), client_certificate: true, ..Demands::default() },
            Auth::None,
            client,
        ),
    ];
    for (demands, auth, tls) in cases {
        let door = door(&certificates, demands);
        let registry = HttpRegistry::new(asked(&format!("https://{}", door.address()), auth, tls)).unwrap();
        let subject = servers::unique("guarded");
        let id = registry.register(&subject, "\"long\"").unwrap();
        assert_eq!(registry.latest(&subject).unwrap().unwrap().id, id);
    }
}

#[test]
fn a_registry_that_refuses_is_told_with_its_cause_within_two_seconds() {
    let certificates = Certificates::make();
    let tls_with = |certificate| Demands { certificate: Some(certificate), ..Demands::default() };
    let token = door(&certificates, Demands { authorization: Some("Bearer right-7755"), ..tls_with("broker.pem") });
    let expired = door(&certificates, tls_with("expired.pem"));
    let elsewhere = door(&certificates, tls_with("elsewhere.pem"));
    let mutual = door(&certificates, Demands { client_certificate: true, ..tls_with("broker.pem") });
    let https = |door: &Doorman| format!("https://{}", door.address());
    let (ca, stranger) = (trusting(&certificates, "ca.pem"), trusting(&certificates, "stranger.pem"));
    let by = |token: &str| Auth::Bearer(token.into());
    let cases = [
        (
            "wrong token",
            https(&token),
            by("wrong-9911"),
            ca.clone(),
            "registry.auth",
            false,
            "asks for other credentials (HTTP 401)",
        ),
        (
            "no token",
            https(&token),
            Auth::None,
            ca.clone(),
            "registry.auth",
            false,
            "asks for other credentials (HTTP 401)",
        ),
        (
            "token of two lines",
            https(&token),
            by("wrong\n9911"),
            ca.clone(),
            "registry.auth",
            false,
            "cannot be asked with these credentials",
        ),
        ("unknown CA", https(&token), by("right-7755"), stranger, "registry.certificate", false, "(unknown CA)"),
        (
            "the system's CAs",
            https(&token),
            by("right-7755"),
            Tls::default(),
            "registry.certificate",
            false,
            "(unknown CA)",
        ),
        (
            "expired",
            https(&expired),
            Auth::None,
            ca.clone(),
            "registry.certificate",
            false,
            "its certificate has expired",
        ),
        (
            "other host",
            https(&elsewhere),
            Auth::None,
            ca.clone(),
            "registry.certificate",
            false,
            "is for another host name",
        ),
        (
            "no client certificate",
            https(&mutual),
            Auth::None,
            ca.clone(),
            "registry.certificate",
            false,
            "wants a client certificate",
        ),
        (
            "https to http",
            format!("https://{}", behind().0),
            Auth::None,
            ca.clone(),
            "registry.unreachable",
            true,
            "does not answer as TLS does",
        ),
        (
            "http to https",
            format!("http://{}", token.address()),
            Auth::None,
            Tls::default(),
            "registry.unreachable",
            true,
            "the URL begins with `https:`",
        ),
        (
            "unknown host",
            "https://no-such-host.invalid".into(),
            Auth::None,
            Tls::default(),
            "registry.unreachable",
            true,
            "dns error",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, url, auth, tls, code, waited_for, words) in cases {
        let started = Instant::now();
        let failure = HttpRegistry::new(asked(&url, auth, tls)).and_then(|registry| registry.ping()).unwrap_err();
        let told = format!("{failure}\n{}", failure.hint.as_deref().unwrap_or_default());
        let place = format!("`{url}/{}` (connection `guarded`)", behind().1);
        let secret = told.contains("9911") || told.contains("7755");
        // Two seconds, and as much for a busy machine.
        let in_time = started.elapsed() < Duration::from_secs(4);
        let as_expected = (failure.code, failure.retry) == (code, waited_for) && told.contains(words);
        if !as_expected || !told.contains(&place) || secret || !in_time {
            wrong.push(format!("{what}: {} {} {told} ({:?})", failure.code, failure.retry, started.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pipeline_registers_through_a_guarded_registry_and_tells_no_token() {
    let broker = guarded_kafka();
    let door = door(
        &broker.certificates,
        Demands {
            certificate: Some("broker.pem"),
            client_certificate: true,
            authorization: Some("Bearer t0ken-of-the-registry"),
        },
    );
    let folder = Folder::new();
    for file in ["ca.pem", "client.pem", "client.key"] {
        folder.write(&format!("secrets/{file}"), &broker.certificates.text(file));
    }
    let (open, url) = (&broker.open, format!("https://{}/{}", door.address(), behind().1));
    folder.write(
        "connection.yaml",
        &format!(
            "apiVersion: runner/v1\nkind: Connection\nmetadata: {{ name: default }}\nspec:\n  kafka: {{ brokers: \"{open}\" }}\n  registry:\n    url: {url}\n    token: \"${{secret:env:TOKEN}}\"\n    tls: {{ ca: secrets/ca.pem, certificate: secrets/client.pem, key: \"${{secret:file:secrets/client.key}}\" }}\n"
        ),
    );
    let topic = servers::unique("registered");
    folder.pipeline(
        "made",
        &format!(
            "  sources: {{ made: {{ datagen: {{ columns: {{ n: long }}, count: 3, rate: max }} }} }}\n  sinks: {{ out: {{ from: made, kafka: {{ topic: {topic} }}, format: avro }} }}\n"
        ),
    );
    let run = |token: &str| Runner::spawn_with(&["apply", ".", "-vv"], folder.path(), &[("TOKEN", token)]).wait();
    let ended = run(TOKEN).with_code(0);
    assert!(!format!("{ended:?}").contains(TOKEN), "{}", ended.stderr);
    assert_eq!(servers::read_at(&broker.open, &topic).len(), 3);
    let plain = HttpRegistry::new(Settings::new(servers::registry())).unwrap();
    assert!(plain.latest(&format!("{topic}-value")).unwrap().is_some());

    let refused = run("wrong-token-5521").with_code(2);
    let told = format!("the schema registry at `{url}` (connection `default`) asks for other credentials (HTTP 401)");
    assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    assert!(!refused.stderr.contains("wrong-token-5521"), "{}", refused.stderr);
}
