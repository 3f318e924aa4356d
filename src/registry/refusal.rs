//! What a registry answers when it does not do what it was asked: the codes of Confluent's API.

use crate::report::Failure;

/// A refusal. The first three digits of its code are the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u32,
    pub message: String,
}

impl Refusal {
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        let digits = if self.code > 999 { self.code / 100 } else { self.code };
        u16::try_from(digits).unwrap_or(500)
    }

    pub fn no_subject(subject: &str) -> Self {
        Self::new(40401, format!("Subject '{subject}' not found."))
    }

    pub fn no_version(version: impl std::fmt::Display) -> Self {
        Self::new(40402, format!("Version {version} not found."))
    }

    pub fn no_schema() -> Self {
        Self::new(40403, "Schema not found")
    }

    pub fn invalid_schema(why: &str) -> Self {
        Self::new(42201, format!("Invalid schema: {why}"))
    }

    pub fn not_permitted(why: impl Into<String>) -> Self {
        Self::new(42205, why)
    }
}

/// The store behind the registry failed.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal::new(50001, failure.to_string())
    }
}
