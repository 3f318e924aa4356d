//! Values of settings that nobody is shown.
//!
//! Connect answers a connector's config as it was given, passwords in it. Here [`HIDDEN`] stands where a secret was, as
//! Connect's own `validate` shows one; and whoever sends a config back as it was shown keeps what is hidden in it.

use super::config::Config;
use super::refusal::Refusal;

/// What is shown in place of a secret: the word of Kafka's own `Password` type.
pub const HIDDEN: &str = "[hidden]";

/// What the names of settings with secrets have in them, words of it separated by points: Kafka's clients', the registry's,
/// and those of classes that are not here.
const WORDS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credentials",
    "user.info",
    "jaas.config",
    "keystore.key",
    "key.pem",
    "private.key",
    "api.key",
    "apikey",
    "account.key",
    "authorization",
    "auth.token",
    "access.token",
];
/// The same of names that end so, as a whole word.
const LAST_WORDS: [&str; 4] = ["token", "pwd", "pass", "pw"];

/// That a setting of this name holds a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['_', '-'], ".");
    let last = key.rsplit('.').next().unwrap_or_default();
    let is_place = ["url", "uri", "file", "location", "type", "class", "source"].contains(&last);
    let ends_so = last.ends_with("token") || LAST_WORDS.contains(&last);
    !is_place && (ends_so || WORDS.iter().any(|word| key.contains(word)))
}

/// That a value has user and password in a URL: `http://me:secret@host`, one of a list of them.
fn has_user_info(value: &str) -> bool {
    let authority =
        |url: &str| url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest).to_owned());
    value.split(',').filter_map(authority).any(|authority| authority.contains('@'))
}

/// That a value has a secret among a URL's parameters, `jdbc:postgresql://host/db?user=me&password=secret`, or in a header of
/// HTTP's, `Authorization: Bearer …`.
fn has_secret_within(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let is_address = lower.contains("://") || lower.starts_with("jdbc:");
    let is_given = |text: &str| !text.is_empty() && !text.starts_with("${");
    let named = |part: &str| part.split_once('=').is_some_and(|(name, text)| is_secret(name.trim()) && is_given(text));
    (is_address && lower.split(['?', '&', ';']).any(named)) || lower.contains("authorization:")
}

/// A value as it may be shown. One that only says where the secret is (`${secret:…}`) is none.
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let is_reference = value.starts_with("${") && value.ends_with('}') && value.matches('}').count() == 1;
    let is_within = has_user_info(value) || has_secret_within(value);
    let hides = is_within || (is_secret(key) && !value.is_empty() && !is_reference);
    if hides { HIDDEN } else { value }
}

/// That a setting says to whom secrets are sent.
fn is_address(key: &str) -> bool {
    key.ends_with("bootstrap.servers") || key.ends_with(".url")
}

/// A config as it may be shown.
pub fn without_secrets(config: &Config) -> Config {
    config.iter().map(|(key, value)| (key.clone(), shown(key, value).to_owned())).collect()
}

/// A config that was shown, changed and sent back: what is hidden in it is as it was `before`.
///
/// # Errors
/// 400 where nothing was; and where it would be sent to another address than before, for whoever may change a config need
/// not be one who knows its secrets.
pub fn with_secrets(mut config: Config, before: Option<&Config>) -> Result<Config, Refusal> {
    let mut kept = None;
    for (key, value) in config.iter_mut().filter(|(_, value)| *value == HIDDEN) {
        match before.and_then(|before| before.get(key)) {
            Some(known) if shown(key, known) == HIDDEN => {
                value.clone_from(known);
                kept = Some(key.clone());
            }
            _ if is_secret(key) => {
                let message = format!("`{key}` is {HIDDEN}, and there is no value of before: give it");
                return Err(Refusal::new(400, message));
            }
            // The text itself.
            _ => {}
        }
    }
    let is_new =
        |key: &str, value: &String| is_address(key) && before.and_then(|before| before.get(key)) != Some(value);
    match (kept, config.iter().find(|(key, value)| is_new(key, value))) {
        (Some(secret), Some((address, _))) => {
            let message =
                format!("`{secret}` is {HIDDEN}, and `{address}` is another than before: give the secret again");
            Err(Refusal::new(400, message))
        }
        _ => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> Config {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_are_hidden_and_kept_by_whoever_sends_them_back() {
        let given = config(&[
            ("producer.override.sasl.jaas.config", "…LoginModule required username=\"a\" password=\"b\";"),
            ("value.converter.basic.auth.user.info", "me:s3cret"),
            ("key.converter.bearer.auth.token", "${secret:env:TOKEN}"),
            ("consumer.override.ssl.key.password", ""),
            ("topics", "password"),
        ]);
        let shown = without_secrets(&given);
        let values: Vec<&str> = shown.values().map(String::as_str).collect();
        assert_eq!(values, [HIDDEN, HIDDEN, "${secret:env:TOKEN}", "", "password"]);
        assert_eq!(with_secrets(shown.clone(), Some(&given)), Ok(given.clone()));
        let changed = config(&[("value.converter.basic.auth.user.info", "me:other"), ("topics", HIDDEN)]);
        assert_eq!(with_secrets(changed.clone(), Some(&given)), Ok(changed));
        assert_eq!(with_secrets(shown, None).unwrap_err().status, 400);
    }

    #[test]
    fn a_password_in_a_url_is_hidden_and_what_is_hidden_goes_to_no_other_address() {
        let given = config(&[
            ("value.converter.schema.registry.url", "http://a:8081,http://me:s3cret@b:8081/path"),
            ("value.converter.basic.auth.user.info", "me:s3cret"),
            ("max.interval", "10"),
        ]);
        let mut shown = without_secrets(&given);
        assert_eq!(shown["value.converter.schema.registry.url"], HIDDEN);
        shown.insert("max.interval".into(), "20".into());
        let changed = with_secrets(shown.clone(), Some(&given)).unwrap();
        assert_eq!(changed["value.converter.schema.registry.url"], given["value.converter.schema.registry.url"]);
        shown.insert("value.converter.schema.registry.url".into(), "http://elsewhere:8081".into());
        assert_eq!(with_secrets(shown.clone(), Some(&given)).unwrap_err().status, 400);
        shown.insert("value.converter.basic.auth.user.info".into(), "me:s3cret".into());
        assert!(with_secrets(shown, Some(&given)).is_ok());
        assert_eq!(super::shown("topics", "a@b://c"), "a@b://c");
    }

    #[test]
    fn secrets_of_classes_that_are_not_here_are_hidden_too() {
        for key in
            ["my.api.key", "apikey", "pwd", "passphrase", "auth.token.value", "db_token", "AWS-Secret-Access-Key"]
        {
            assert_eq!(shown(key, "s3cret"), HIDDEN, "{key}");
        }
        let within = [
            "jdbc:postgresql://host/db?user=me&password=s3cret",
            "jdbc:sqlserver://host;user=me;password=s3cret;encrypt=true",
            "https://host/path?access_token=s3cret",
            "Authorization: Bearer s3cret",
        ];
        for value in within {
            assert_eq!(shown("connection.url", value), HIDDEN);
        }
        let shown_as_they_are = [
            ("sasl.oauthbearer.token.endpoint.url", "https://host/token"),
            ("transforms.mask.fields", "password"),
            ("schema.keyfield", "token"),
            ("connection.url", "jdbc:postgresql://host/db?user=me&password=${secret:env:DB}"),
            ("ssl.truststore.location", "/etc/password"),
            ("tokens.max", "3"),
        ];
        for (key, value) in shown_as_they_are {
            assert_eq!(shown(key, value), value, "{key}");
        }
    }
}
