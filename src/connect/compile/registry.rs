//! The registry of a converter's settings, as a connection has it.

use serde_json::{Map, Value as Json, json};

/// Settings that say where the registry is, and who asks.
const OF_REGISTRY: &[&str] = &["schema.registry.", "basic.auth.", "bearer.auth.", "proxy."];

/// That a setting is the connection's, and no business of the format.
pub fn is_of_registry(name: &str) -> bool {
    OF_REGISTRY.iter().any(|prefix| name.starts_with(prefix))
}

/// `registry:` of a converter's settings, without prefix; `url` is where they do not say it. What they say and it does
/// not do is in `lost`, in pairs of a setting's name and why.
pub fn registry(
    settings: &[(String, String)],
    url: Option<&str>,
    lost: &mut Vec<(String, &'static str)>,
) -> Option<Json> {
    let setting = |name: &str| {
        let found = settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty())
    };
    let url = setting("schema.registry.url").or(url)?;
    let mut registry = json!({ "url": url });
    let mut taken =
        vec!["schema.registry.url", "schema.registry.ssl.truststore.type", "schema.registry.ssl.keystore.type"];
    for key in ["basic.auth.user.info", "schema.registry.basic.auth.user.info"] {
        let Some(info) = setting(key) else { continue };
        match credentials(info) {
            Some((user, password)) => {
                registry["username"] = json!(user);
                registry["password"] = json!(password);
                taken.push(key);
            }
            None => lost.push((key.to_owned(), "it is not of the form `user:password`")),
        }
    }
    for (key, known) in [
        ("basic.auth.credentials.source", &["URL", "USER_INFO"][..]),
        ("bearer.auth.credentials.source", &["STATIC_TOKEN"]),
    ] {
        if setting(key).is_some_and(|source| known.contains(&source)) {
            taken.push(key);
        }
    }
    if let Some(token) = setting("bearer.auth.token") {
        registry["token"] = json!(token);
        taken.push("bearer.auth.token");
    }
    let tls = tls(&setting, &mut taken);
    if !tls.is_empty() {
        registry["tls"] = Json::Object(tls);
    }
    let said = lost.len();
    for (name, value) in settings.iter().filter(|(name, _)| is_of_registry(name)) {
        let is_known = taken.contains(&name.as_str()) || lost[..said].iter().any(|(known, _)| known == name);
        if !is_known && !value.trim().is_empty() {
            lost.push((name.clone(), "the client of the registry has no such setting"));
        }
    }
    Some(registry)
}

/// Certificates: PEM, as a text or a file.
fn tls<'s>(setting: &impl Fn(&str) -> Option<&'s str>, taken: &mut Vec<&'static str>) -> Map<String, Json> {
    let mut tls = Map::new();
    let mut take = |word: &str, key: &'static str| {
        if let Some(value) = setting(key) {
            tls.entry(word).or_insert_with(|| json!(value));
            taken.push(key);
        }
    };
    take("ca", "schema.registry.ssl.truststore.certificates");
    take("certificate", "schema.registry.ssl.keystore.certificate.chain");
    take("key", "schema.registry.ssl.keystore.key");
    let is_pem = |store: &str| setting(store).is_some_and(|kind| kind.eq_ignore_ascii_case("PEM"));
    if is_pem("schema.registry.ssl.truststore.type") {
        take("ca", "schema.registry.ssl.truststore.location");
    }
    // One file with certificates and key.
    if is_pem("schema.registry.ssl.keystore.type") {
        take("certificate", "schema.registry.ssl.keystore.location");
        take("key", "schema.registry.ssl.keystore.location");
    }
    tls
}

/// `user:password`; either may be a `${secret:…}`, whose colons part nothing.
fn credentials(text: &str) -> Option<(&str, &str)> {
    let begin = if text.starts_with("${") { text.find('}')? } else { 0 };
    let colon = begin + text[begin..].find(':')?;
    Some((&text[..colon], &text[colon + 1..]))
}
