//! Requests that are refused before, or because, a config was looked at.

use std::fmt;

/// Why not, as the REST API answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Connect's sentence.
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }

    /// As `validate` answers what its connector's class has against a config.
    pub fn thrown(self) -> Refusal {
        let message = format!("org.apache.kafka.connect.runtime.rest.errors.BadRequestException: {}", self.message);
        Refusal { status: 500, message }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The one text of all that is wrong with a config, for POST, PUT and PATCH.
pub fn list_of_errors(errors: &[String]) -> String {
    format!(
        "Connector configuration is invalid and contains the following {} error(s):\n{}\nYou can also find the above list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/validate`",
        errors.len(),
        errors.join("\n")
    )
}
