//! Documents that configs become: each is loaded, and looked into as JSON.

use serde_json::{Value as Json, json};

use super::*;
use crate::report::SourceFile;
use crate::spec::{Values, load_text, read_yaml};

fn config(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn worker(resolves: fn(&str) -> bool) -> Worker {
    Worker { resolves, ..Worker::default() }
}

fn compiled(pairs: &[(&str, &str)]) -> Compiled {
    compile("a b", &pipeline_name("a b"), &config(pairs), &worker(|_| true)).unwrap()
}

/// The documents' bodies: a pipeline's, then topics' with their names.
fn bodies(document: &str) -> Vec<Json> {
    let (loaded, found) = load_text("compiled.yaml", document, &Values::default());
    assert!(!found.has_errors() && loaded.pipelines.len() == 1, "{found:?}\n{document}");
    let file = std::sync::Arc::new(SourceFile { name: "a".into(), text: document.into() });
    let nodes = read_yaml(&file, &Values::default(), &mut Default::default());
    nodes
        .iter()
        .map(|node| node.to_json())
        .map(|json| if json["kind"] == "Topic" { json } else { json["spec"].clone() })
        .collect()
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    compile("x", "x", &config(pairs), &worker(|_| true)).unwrap_err().message
}

const AVRO: (&str, &str) = ("value.converter", "io.confluent.connect.avro.AvroConverter");
const PLAIN_JSON: (&str, &str) = ("value.converter.schemas.enable", "false");
const JSON: (&str, &str) = ("value.converter", "JsonConverter");
const LINES: (&str, &str) = ("connector.class", "FileStreamSource");

#[test]
fn a_generator_becomes_a_generator() {
    let compiled = compiled(&[
        ("connector.class", "Datagen"),
        ("kafka.topic", "t"),
        ("quickstart", "USERS"),
        ("max.interval", "100"),
        ("iterations", "5"),
        ("tasks.max", "2"),
        ("random.seed", "-7"),
        ("key.converter", "String"),
        JSON,
        PLAIN_JSON,
    ]);
    assert_eq!((compiled.kind, compiled.tasks), (PluginKind::Source, 2));
    assert!(compiled.at_end.unwrap().ends_with("generated the configured 5 number of messages"));
    assert!(compiled.untranslated.is_empty() && compiled.notes.is_empty(), "{:?}", compiled.notes);
    let pipeline = &bodies(&compiled.document)[0];
    let generator =
        json!({"quickstart": "users", "count": 5, "max_interval": "100ms", "tasks": 2, "per_task": true, "seed": -7});
    assert_eq!(pipeline["sources"]["rows"]["datagen"], generator);
    let sink = &pipeline["sinks"]["out"];
    assert_eq!((&sink["kafka"], &sink["key"]), (&json!({"topic": "t"}), &json!(["userid"])));
    assert_eq!((&sink["delivery"], &pipeline["state"]), (&json!("at_least_once"), &json!({"journal": "file"})));
    let format = &sink["format"]["connect"];
    assert_eq!(format["key.converter"], "org.apache.kafka.connect.storage.StringConverter");
    assert_eq!(format["value.converter.schemas.enable"], "false");
}

#[test]
fn a_schema_keeps_its_rules() {
    const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "double", "arg.properties": {"options": [1.0, 2.5]}}}]}"#;
    let compiled = compiled(&[
        ("connector.class", "DatagenConnector"),
        ("kafka.topic", "t"),
        ("schema.string", SCHEMA),
        ("max.interval", "0"),
    ]);
    let generator = &bodies(&compiled.document)[0]["sources"]["rows"]["datagen"];
    let rules = json!({"options": [1.0, 2.5]});
    assert_eq!(generator["schema"]["fields"][0]["type"]["arg.properties"], rules);
    assert_eq!((&generator["rate"], generator.get("count")), (&json!("max"), None));
    assert_eq!(compiled.at_end, None);
}

#[test]
fn lines_go_to_a_topic_as_texts() {
    let compiled = compiled(&[LINES, ("file", "/var/log/a.log"), ("topic", "t"), ("value.converter", "String")]);
    let pipeline = &bodies(&compiled.document)[0];
    let (name, source) = pipeline["sources"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(source["file"], json!({"path": "/var/log/a.log", "follow": true}));
    assert!(name.starts_with("file_") && pipeline["sinks"]["out"]["from"] == **name, "{pipeline}");
    assert_eq!(pipeline["sinks"]["out"]["format"], "string");
    assert_eq!(pipeline["sinks"]["out"]["key"], json!([]));
    assert!(refusal(&[LINES, ("topic", "t")]).contains("name a file"));
}

#[test]
fn topics_go_to_a_file_by_a_group_of_connects() {
    let compiled = compiled(&[
        ("connector.class", "FileStreamSink"),
        ("file", "out.txt"),
        ("topics", "a, b"),
        ("tasks.max", "3"),
        ("transforms", "drop"),
        ("transforms.drop.type", "Filter"),
        ("transforms.drop.predicate", "gone"),
        ("predicates", "gone"),
        ("predicates.gone.type", "RecordIsTombstone"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "dead"),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("consumer.override.auto.offset.reset", "latest"),
        ("consumer.override.max.poll.records", "7"),
        ("consumer.override.fetch.max.bytes", "1000000"),
    ]);
    assert_eq!((compiled.kind, compiled.tasks), (PluginKind::Sink, 3));
    let bodies = bodies(&compiled.document);
    let kafka = json!({"topics": ["a", "b"], "group": "connect-a b", "start": "latest", "on_expired": "latest", "properties": {"fetch.max.bytes": "1000000"}});
    assert_eq!(bodies[0]["sources"]["rows"]["kafka"], kafka);
    let sink = &bodies[0]["sinks"]["out"];
    assert_eq!((&sink["delivery"], &sink["file"]["append"]), (&json!("at_least_once"), &json!(true)));
    let format = &sink["format"]["connect"];
    assert_eq!(format["transforms.drop.type"], "org.apache.kafka.connect.transforms.Filter");
    assert_eq!(format["predicates.gone.type"], "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone");
    assert_eq!(bodies[0]["dead_letter"]["kafka"], json!({"topic": "dead"}));
    assert_eq!(bodies[1]["metadata"]["name"], "dead");
    assert_eq!(bodies[1]["spec"], json!({"partitions": 1, "replication": 1}));
    assert_eq!(compiled.notes.len(), 1, "{:?}", compiled.notes);
    let regex = [("connector.class", "FileStreamSink"), ("file", "f"), ("topics.regex", "a.*")];
    let document = compile("x", "x", &config(&regex), &worker(|_| true)).unwrap().document;
    assert!(document.contains("pattern: a.*") || document.contains("pattern: \"a.*\""), "{document}");
}

#[test]
fn the_first_group_whose_patterns_fit_makes_the_topic() {
    let with = |more: &[(&str, &str)]| {
        let base = [LINES, ("file", "f"), ("topic", "orders.eu"), ("topic.creation.default.partitions", "2")];
        compiled(&[&base, more].concat())
    };
    let topic = |compiled: &Compiled| bodies(&compiled.document)[1].clone();
    let plain = with(&[("topic.creation.default.replication.factor", "-1")]);
    assert_eq!(topic(&plain)["spec"], json!({"partitions": 2}));
    let grouped = with(&[
        ("topic.creation.groups", "us,eu"),
        ("topic.creation.us.include", ".*us"),
        ("topic.creation.eu.include", "orders.*, x"),
        ("topic.creation.eu.exclude", "orders.uk"),
        ("topic.creation.eu.partitions", "5"),
        ("topic.creation.eu.cleanup.policy", "compact"),
    ]);
    assert_eq!(topic(&grouped)["metadata"]["name"], "orders.eu");
    assert_eq!(topic(&grouped)["spec"], json!({"partitions": 5, "config": {"cleanup.policy": "compact"}}));
    let wrong = [LINES, ("file", "f"), ("topic", "t"), ("topic.creation.default.partitions", "0")];
    assert!(refusal(&wrong).contains("Value must be at least 1, or -1"));
}

#[test]
fn topics_that_transformations_choose_are_made_as_the_groups_say() {
    let with = |more: &[(&str, &str)]| {
        let base = [
            LINES,
            ("file", "f"),
            ("topic", "orders"),
            ("topic.creation.default.partitions", "2"),
            ("topic.creation.groups", "eu"),
            ("topic.creation.eu.include", "orders-2.*, eu"),
            ("topic.creation.eu.exclude", "orders-21.*"),
            ("topic.creation.eu.partitions", "5"),
            ("transforms", "route"),
        ];
        bodies(&compiled(&[&base, more].concat()).document)
    };
    let by_day = with(&[("transforms.route.type", "TimestampRouter")]);
    let group = json!({"partitions": 5, "topics": ["orders-2.*", "eu"], "except": ["orders-21.*"]});
    assert_eq!(
        by_day[0]["sinks"]["out"]["kafka"],
        json!({"topic": "orders", "new_topics": [group, {"partitions": 2}]})
    );
    assert_eq!(by_day.len(), 1, "no topic is made before there is a record for it");
    // Where all go to the same one it is that which is made.
    let renamed = with(&[
        ("transforms.route.type", "RegexRouter"),
        ("transforms.route.regex", "orders"),
        ("transforms.route.replacement", "eu"),
    ]);
    assert_eq!((&renamed[1]["metadata"]["name"], &renamed[1]["spec"]), (&json!("eu"), &json!({"partitions": 5})));
}

#[test]
fn properties_are_those_of_the_client() {
    let base = [LINES, ("file", "f"), ("topic", "t"), ("value.converter", "String")];
    let with = |more: &[(&str, &str)]| compiled(&[&base, more].concat());
    let tuned = with(&[
        ("producer.override.linger.ms", "5"),
        ("producer.override.max.request.size", "2000000"),
        ("producer.override.buffer.memory", "1"),
        ("producer.override.acks", "1"),
    ]);
    let properties = &bodies(&tuned.document)[0]["sinks"]["out"]["kafka"]["properties"];
    assert_eq!(*properties, json!({"linger.ms": "5", "message.max.bytes": "2000000"}));
    assert_eq!((tuned.notes.len(), tuned.untranslated.len()), (1, 1), "{tuned:?}");
    let wrong = [&base[..], &[("producer.override.linger.ms", "x")]].concat();
    assert!(refusal(&wrong).contains("Invalid value x for configuration producer.override.linger.ms"));
}

#[test]
fn a_registry_of_an_unknown_name_is_that_of_the_connection() {
    let pairs = config(&[
        ("connector.class", "Datagen"),
        ("kafka.topic", "t"),
        ("quickstart", "users"),
        AVRO,
        ("value.converter.schema.registry.url", "http://schema-registry:8081"),
        ("value.converter.basic.auth.user.info", "me:pass"),
    ]);
    let known = |worker: &Worker| {
        let compiled = compile("x", "x", &pairs, worker).unwrap();
        (bodies(&compiled.document)[0]["connections"]["default"].clone(), compiled.notes.len())
    };
    assert_eq!(known(&worker(|_| false)), (Json::Null, 1));
    let connection = json!({"kafka": {"brokers": "k:9092", "properties": {"security.protocol": "ssl"}}, "registry": {"url": "http://r"}});
    let asked = Worker { connection: Some(connection), ..worker(|host| host == "schema-registry:8081") };
    let registry = json!({"url": "http://schema-registry:8081", "username": "me", "password": "pass"});
    let kafka = json!({"brokers": "k:9092", "properties": {"security.protocol": "ssl"}});
    assert_eq!(known(&asked), (json!({"kafka": kafka, "registry": registry}), 0));
    // It may be the worker's own: who asks is the connector's business.
    let own = json!({"kafka": {"brokers": "k:9092"}, "registry": {"url": "http://schema-registry:8081/", "token": "t", "tls": {"ca": "ca.pem"}}});
    let merged =
        json!({"url": "http://schema-registry:8081/", "tls": {"ca": "ca.pem"}, "username": "me", "password": "pass"});
    assert_eq!(known(&Worker { connection: Some(own), ..worker(|_| true) }).0["registry"], merged);
    let same = json!({"registry": {"url": "http://schema-registry:8081", "username": "me", "password": "pass"}});
    assert_eq!(known(&Worker { connection: Some(same), ..worker(|_| true) }).0, Json::Null);
    // The connection says where the registry is: it is no business of the format.
    let format = compile("x", "x", &pairs, &worker(|_| false)).unwrap().document;
    assert!(!format.contains("schema.registry.url") && !format.contains("me:pass"), "{format}");
}

#[test]
fn any_name_is_a_name_of_a_pipeline() {
    assert_eq!(pipeline_name("datagen-1"), "datagen-1");
    let made = pipeline_name("a/b ü");
    assert!(crate::spec::is_document_name(&made) && made.starts_with("connector-"), "{made}");
    assert_ne!(made, pipeline_name("a/b u"));
    assert_eq!(made, pipeline_name("a/b ü"));
    assert!(pipeline_name(&"x".repeat(300)).len() < 60);
}

#[test]
fn who_we_are_to_the_brokers_is_the_connections() {
    let compiled = compiled(&[
        LINES,
        ("file", "f"),
        ("topic", "t"),
        ("producer.override.bootstrap.servers", "far:9093"),
        ("producer.override.security.protocol", "SASL_SSL"),
        ("producer.override.sasl.jaas.config", "org.x.LoginModule required username=\"me\" password=\"p:w\";"),
    ]);
    let pipeline = &bodies(&compiled.document)[0];
    let kafka = &pipeline["connections"]["default"]["kafka"];
    let properties = json!({"security.protocol": "SASL_SSL", "sasl.username": "me", "sasl.password": "p:w"});
    assert_eq!(*kafka, json!({"brokers": "far:9093", "properties": properties}));
    assert_eq!(pipeline["sinks"]["out"]["kafka"], json!({"topic": "t"}));
}

#[test]
fn exactly_once_is_had_by_asking_for_it() {
    let asked = compiled(&[LINES, ("file", "f"), ("topic", "t"), ("exactly.once.support", "REQUIRED")]);
    let pipeline = &bodies(&asked.document)[0];
    assert_eq!((pipeline.get("state"), pipeline["sinks"]["out"].get("delivery")), (None, None));
}

/// A generator in Avro, with these settings of its value converter.
fn avro(more: &[(&str, &str)]) -> Compiled {
    let base = [("connector.class", "Datagen"), ("kafka.topic", "t"), ("quickstart", "users"), AVRO];
    compiled(&[&base, more].concat())
}

#[test]
fn a_login_without_an_address_is_for_the_workers_registry() {
    let worker = Worker {
        connection: Some(json!({"kafka": {"brokers": "k:1"}, "registry": {"url": "https://r"}})),
        value_converter: (
            plugins::AVRO.to_owned(),
            vec![("bearer.auth.token".to_owned(), "t".to_owned()), ("bearer.auth.scope".to_owned(), "s".to_owned())],
        ),
        ..worker(|_| true)
    };
    let pairs = config(&[("connector.class", "Datagen"), ("kafka.topic", "t"), ("quickstart", "users")]);
    let compiled = compile("x", "x", &pairs, &worker).unwrap();
    let registry = bodies(&compiled.document)[0]["connections"]["default"]["registry"].clone();
    assert_eq!(registry, json!({"url": "https://r", "token": "t"}));
    assert_eq!(compiled.untranslated.len(), 1, "{:?}", compiled.untranslated);
    assert!(compiled.untranslated[0].contains("value.converter.bearer.auth.scope"));
    // There is none to log in at.
    let embedded = Worker { connection: Some(json!({"registry": "embedded"})), ..worker };
    let compiled = compile("x", "x", &pairs, &embedded).unwrap();
    assert!(compiled.untranslated.iter().any(|lost| lost.contains("no `schema.registry.url`")), "{compiled:?}");
}

#[test]
fn certificates_of_a_registry_are_the_connections() {
    let compiled = avro(&[
        ("value.converter.schema.registry.url", "https://r"),
        ("value.converter.schema.registry.ssl.truststore.type", "PEM"),
        ("value.converter.schema.registry.ssl.truststore.location", "ca.pem"),
        ("value.converter.schema.registry.ssl.keystore.location", "keys.jks"),
    ]);
    let registry = bodies(&compiled.document)[0]["connections"]["default"]["registry"].clone();
    assert_eq!(registry, json!({"url": "https://r", "tls": {"ca": "ca.pem"}}));
    assert_eq!(compiled.untranslated.len(), 1, "{:?}", compiled.untranslated);
    assert!(compiled.untranslated[0].contains("ssl.keystore.location"));
}

#[test]
fn no_setting_of_a_converter_is_passed_over_in_silence() {
    let heard = avro(&[
        ("value.converter.value.subject.name.strategy", "io.confluent.kafka.serializers.subject.RecordNameStrategy"),
        ("value.converter.use.latest.version", "true"),
        ("value.converter.auto.register.schemas", "false"),
        ("value.converter.normalize.schemas", "true"),
        ("value.converter.schemas.cache.config", "50"),
        ("value.converter.flatten.singleton.unions", "true"),
    ]);
    assert!(heard.untranslated.is_empty() && heard.notes.is_empty(), "{heard:?}");
    let format = &bodies(&heard.document)[0]["sinks"]["out"]["format"]["connect"];
    assert_eq!(format["value.converter.use.latest.version"], "true");
    let lost = avro(&[
        ("value.converter.discard.type.doc.default", "true"),
        ("value.converter.rule.executors", "x"),
        ("key.converter", "StringConverter"),
        ("key.converter.schemas.enable", "false"),
    ]);
    assert_eq!(lost.untranslated.len(), 2, "{lost:?}");
    assert!(
        lost.untranslated[0].contains("discard.type.doc.default") && lost.untranslated[1].contains("rule.executors")
    );
    // Connect hears nothing of it either.
    assert_eq!(lost.notes, ["`key.converter.schemas.enable` is no setting of StringConverter: it has no effect"]);
}

#[test]
fn what_the_worker_has_for_clients_is_under_what_a_connector_says() {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let worker = Worker {
        connection: Some(json!({"kafka": {"brokers": "k:1", "properties": {"security.protocol": "SSL"}}})),
        producer: pairs(&[
            ("linger.ms", "7"),
            ("batch.size", "1000"),
            ("security.protocol", "SSL"),
            ("buffer.memory", "1"),
        ]),
        consumer: pairs(&[("fetch.max.wait.ms", "9"), ("sasl.mechanism", "PLAIN")]),
        ..worker(|_| true)
    };
    let base = [LINES, ("file", "f"), ("topic", "t"), ("producer.override.linger.ms", "5")];
    let source = compile("x", "x", &config(&base), &worker).unwrap();
    let pipeline = &bodies(&source.document)[0];
    assert_eq!(pipeline["sinks"]["out"]["kafka"]["properties"], json!({"linger.ms": "5", "batch.size": "1000"}));
    assert_eq!(pipeline.get("connections"), None, "it is the worker's own");
    assert!(source.notes.is_empty(), "{:?}", source.notes);
    let base = [("connector.class", "FileStreamSink"), ("file", "f"), ("topics", "t")];
    let sink = compile("x", "x", &config(&base), &worker).unwrap();
    let pipeline = &bodies(&sink.document)[0];
    assert_eq!(pipeline["sources"]["rows"]["kafka"]["properties"], json!({"fetch.wait.max.ms": "9"}));
    let properties = json!({"security.protocol": "SSL", "sasl.mechanism": "PLAIN"});
    assert_eq!(pipeline["connections"]["default"]["kafka"], json!({"brokers": "k:1", "properties": properties}));
}
