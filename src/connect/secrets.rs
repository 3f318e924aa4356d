//! Values of settings that nobody is shown.
//!
//! Connect answers a connector's config as it was given, passwords in it. Here [`HIDDEN`] stands where a secret was, as
//! Connect's own `validate` shows one; and whoever sends a config back as it was shown keeps what is hidden in it.

use super::config::Config;
use super::refusal::Refusal;

/// What is shown in place of a secret: the word of Kafka's own `Password` type.
pub const HIDDEN: &str = "[hidden]";

/// What the names of settings with secrets have in them: Kafka's clients', the registry's, and those of classes that
/// are not here.
const WORDS: [&str; 8] =
    ["password", "secret", "credentials", "user.info", "jaas.config", "keystore.key", "key.pem", "private.key"];

/// That a setting of this name holds a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("token") || WORDS.iter().any(|word| key.contains(word))
}

/// A value as it may be shown. One that only says where the secret is (`${secret:…}`) is none.
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let is_reference = value.starts_with("${") && value.ends_with('}') && value.matches('}').count() == 1;
    if is_secret(key) && !value.is_empty() && !is_reference { HIDDEN } else { value }
}

/// A config as it may be shown.
pub fn without_secrets(config: &Config) -> Config {
    config.iter().map(|(key, value)| (key.clone(), shown(key, value).to_owned())).collect()
}

/// A config that was shown, changed and sent back: what is hidden in it is as it was `before`.
///
/// # Errors
/// 400 where nothing was.
pub fn with_secrets(mut config: Config, before: Option<&Config>) -> Result<Config, Refusal> {
    for (key, value) in &mut config {
        if value == HIDDEN && is_secret(key) {
            let known = before.and_then(|before| before.get(key));
            let none = || Refusal::new(400, format!("`{key}` is {HIDDEN}, and there is no value of before: give it"));
            *value = known.ok_or_else(none)?.clone();
        }
    }
    Ok(config)
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
}
