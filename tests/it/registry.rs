//! The client of the schema registry against a real third-party server, and against the one that `runner` serves.
//!
//! Every test uses subjects of its own, so that they can share one server.

use std::time::{Duration, Instant};

use runner::registry::{Auth, HttpRegistry, Registry, Settings};

const A: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":"int"}]}"#;
const A_B: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":0}]}"#;
const A_C: &str =
    r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":"int"},{"name":"c","type":"int"}]}"#;

fn registry() -> HttpRegistry {
    HttpRegistry::new(Settings::new(crate::servers::registry())).unwrap()
}

fn registries() -> [HttpRegistry; 2] {
    [registry(), HttpRegistry::new(Settings::new(crate::registry_face::served())).unwrap()]
}

fn subject(test: &str) -> String {
    format!("{test}-{}-value", uuid::Uuid::new_v4())
}

#[test]
fn a_schema_is_registered_and_found_by_all_its_names() {
    for registry in registries() {
        let subject = subject("found");
        assert_eq!(registry.latest(&subject).unwrap(), None);
        assert_eq!(registry.lookup(&subject, A).unwrap(), None);
        let first = registry.register(&subject, A).unwrap();
        let second = registry.register(&subject, A_B).unwrap();
        assert_ne!(first, second);
        assert_eq!(registry.register(&subject, A).unwrap(), first, "again, though it is not the newest");

        let latest = registry.latest(&subject).unwrap().unwrap();
        assert_eq!((latest.subject.as_str(), latest.id, latest.version), (subject.as_str(), second, 2));
        assert_eq!(registry.version(&subject, 1).unwrap().unwrap().id, first);
        assert_eq!(registry.version(&subject, 9).unwrap(), None);
        assert_eq!(registry.lookup(&subject, A).unwrap().unwrap().version, 1);
        let by_id: serde_json::Value = serde_json::from_str(&registry.by_id(second).unwrap().unwrap()).unwrap();
        assert_eq!(by_id, serde_json::from_str::<serde_json::Value>(A_B).unwrap());
        assert_eq!(registry.by_id(i32::MAX).unwrap(), None);
    }
}

#[test]
fn a_subject_is_one_segment_whatever_is_in_it() {
    for registry in registries() {
        let subject = format!("a/b c?d#e%2F é {}", uuid::Uuid::new_v4());
        let id = registry.register(&subject, A).unwrap();
        assert_eq!(registry.latest(&subject).unwrap().unwrap().id, id);
        assert_eq!(registry.latest("..").unwrap_err().code, "registry.subject");
    }
}

#[test]
fn an_incompatible_schema_is_refused_with_the_reason() {
    for registry in registries() {
        let subject = subject("refused");
        assert!(registry.compatible(&subject, A_C).unwrap().compatible, "a subject that is not there");
        registry.register(&subject, A).unwrap();
        assert!(registry.compatible(&subject, A_B).unwrap().compatible);
        let verdict = registry.compatible(&subject, A_C).unwrap();
        assert!(!verdict.compatible);
        assert_eq!(verdict.messages, ["`c`: it is new and has no default"]);
        let failure = registry.register(&subject, A_C).unwrap_err();
        assert_eq!((failure.code, failure.retry), ("registry.incompatible", false));
        assert!(failure.message.contains("`c`: it is new and has no default"), "{failure}");
    }
}

#[test]
fn only_the_newest_version_counts_unless_the_level_says_all() {
    for registry in registries() {
        let subject = subject("newest");
        let b_required = A_B.replace(r#","default":0"#, "");
        registry.register(&subject, A).unwrap();
        registry.register(&subject, A_B).unwrap();
        // It reads A_B, not A.
        assert!(registry.compatible(&subject, &b_required).unwrap().compatible);
        registry.register(&subject, &b_required).unwrap();
    }
}

#[test]
fn what_is_not_avro_is_refused_as_such() {
    for registry in registries() {
        let subject = subject("invalid");
        let failure = registry.register(&subject, r#"{"type":"record","name":"R"}"#).unwrap_err();
        assert_eq!(failure.code, "registry.invalid_schema");
        assert!(failure.message.contains("no list of `fields`"), "{failure}");
    }
}

#[test]
fn a_changed_logical_type_is_allowed_with_a_warning() {
    for registry in registries() {
        let subject = subject("logical");
        let with = |unit: &str| {
            format!(
                r#"{{"type":"record","name":"R","fields":[{{"name":"t","type":{{"type":"long","logicalType":"timestamp-{unit}"}}}}]}}"#
            )
        };
        registry.register(&subject, &with("millis")).unwrap();
        let verdict = registry.compatible(&subject, &with("micros")).unwrap();
        assert!(verdict.compatible);
        assert!(verdict.messages[0].contains("timestamp-millis becomes timestamp-micros"), "{verdict:?}");
    }
}

#[test]
fn a_missing_server_is_named_within_two_seconds_and_without_credentials() {
    let started = Instant::now();
    let mut settings = Settings::new("http://me:secret@127.0.0.1:9/base, http://127.0.0.1:10");
    settings.patience = runner::registry::http::PLAN_PATIENCE;
    let failure = HttpRegistry::new(settings).unwrap().latest("s").unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((failure.code, failure.retry), ("registry.unreachable", true));
    let text = failure.to_string();
    assert!(text.contains("127.0.0.1") && !text.contains("secret") && !text.contains("me:"), "{text}");
}

#[test]
fn the_next_url_is_asked_when_one_is_away() {
    let subject = subject("next");
    let urls = format!("http://127.0.0.1:9,{}/", crate::servers::registry());
    let id = HttpRegistry::new(Settings::new(urls)).unwrap().register(&subject, A).unwrap();
    assert_eq!(registry().latest(&subject).unwrap().unwrap().id, id);
}

#[test]
fn credentials_are_never_printed() {
    let mut settings = Settings::new("http://me:secret@localhost:1/x");
    settings.auth = Auth::Bearer("token".into());
    let text = format!("{settings:?}");
    assert!(!text.contains("token") && !text.contains("secret"), "{text}");
    let registry = HttpRegistry::new(settings).unwrap();
    assert_eq!(registry.describe(), "http://localhost:1/x");
    assert!(!format!("{registry:?}").contains("secret"));
    let failure = HttpRegistry::new(Settings::new("ftp://me:secret@host")).unwrap_err();
    assert_eq!(failure.code, "registry.url");
    assert!(!failure.to_string().contains("secret"));
}
