//! Compatibility levels and modes: what a registry lets happen to a subject.

use serde::{Deserialize, Serialize};

/// Which schemas must be able to read what which others wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    None,
    /// The new one reads what the newest wrote.
    #[default]
    Backward,
    BackwardTransitive,
    /// The newest reads what the new one writes.
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Level {
    /// All of them, with the words of the protocol.
    pub const ALL: [(&str, Level); 7] = [
        ("NONE", Level::None),
        ("BACKWARD", Level::Backward),
        ("BACKWARD_TRANSITIVE", Level::BackwardTransitive),
        ("FORWARD", Level::Forward),
        ("FORWARD_TRANSITIVE", Level::ForwardTransitive),
        ("FULL", Level::Full),
        ("FULL_TRANSITIVE", Level::FullTransitive),
    ];

    /// In any case of letters.
    pub fn from_word(word: &str) -> Option<Level> {
        Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
    }

    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("BACKWARD", |(word, _)| word)
    }

    /// Compared with all versions, not with the newest alone.
    pub fn is_transitive(self) -> bool {
        matches!(self, Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive)
    }

    /// The new schema must read old data.
    pub fn looks_back(self) -> bool {
        matches!(self, Level::Backward | Level::BackwardTransitive | Level::Full | Level::FullTransitive)
    }

    /// Old schemas must read new data.
    pub fn looks_forward(self) -> bool {
        matches!(self, Level::Forward | Level::ForwardTransitive | Level::Full | Level::FullTransitive)
    }
}

/// What may be done at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    #[default]
    Readwrite,
    Readonly,
    /// For the whole registry: no subject may say otherwise.
    ReadonlyOverride,
    /// Ids and versions are given by whoever registers; nothing is compared.
    Import,
    /// For the whole registry: it takes what another one gave ids to, as in IMPORT, and gives none itself.
    Forward,
}

impl Mode {
    pub const ALL: [(&str, Mode); 5] = [
        ("READWRITE", Mode::Readwrite),
        ("READONLY", Mode::Readonly),
        ("READONLY_OVERRIDE", Mode::ReadonlyOverride),
        ("IMPORT", Mode::Import),
        ("FORWARD", Mode::Forward),
    ];

    /// In any case of letters.
    pub fn from_word(word: &str) -> Option<Mode> {
        Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, mode)| *mode)
    }

    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("READWRITE", |(word, _)| word)
    }

    /// Ids come from outside.
    pub fn takes_ids(self) -> bool {
        matches!(self, Mode::Import | Mode::Forward)
    }

    pub fn is_readonly(self) -> bool {
        matches!(self, Mode::Readonly | Mode::ReadonlyOverride)
    }
}
