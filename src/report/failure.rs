//! Something broke while running.

use std::error::Error;

/// Who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The user: the spec, the data or a setting.
    User,
    /// The world: a broker, a registry, a disk.
    Outside,
    /// A bug of ours.
    Us,
}

/// What broke, whose move it is, and whether trying again can help.
#[derive(Debug)]
pub struct Failure {
    /// `room.what`, stable.
    pub code: &'static str,
    pub blame: Blame,
    /// True when the same call may succeed later without anybody changing anything.
    pub retry: bool,
    pub message: String,
    pub hint: Option<String>,
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub fn user(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Blame::User, false, message.into())
    }

    pub fn outside(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Blame::Outside, true, message.into())
    }

    pub fn bug(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Blame::Us, false, message.into())
    }

    fn new(code: &'static str, blame: Blame, retry: bool, message: String) -> Self {
        Failure { code, blame, retry, message, hint: None, cause: None }
    }

    pub fn no_retry(mut self) -> Self {
        self.retry = false;
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.cause.as_deref().map(|c| c as &dyn Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for Failure {}
