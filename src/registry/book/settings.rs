//! Levels, modes and other settings, and the check that a level asks for.

use serde_json::{Map, Value as Json};

use super::stored::Book;
use super::{Deleted, Entry, Found, NewSchema, Parsed, Subject, Which, rules};
use crate::registry::avro::Schema;
use crate::registry::compatibility::{self, Kind, Reason};
use crate::registry::level::{Level, Mode};
use crate::registry::refusal::Refusal;

const LEVEL: &str = "compatibilityLevel";
/// Settings that are kept, beside the level.
const KEPT: &[&str] = &[
    "alias",
    "normalize",
    "validateFields",
    "compatibilityGroup",
    "compatibilityPolicy",
    "defaultMetadata",
    "overrideMetadata",
    "defaultRuleSet",
    "overrideRuleSet",
];

/// What a new schema is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// What the subject's level asks for: the newest version, or all.
    Level,
    /// This one version.
    Version(Which),
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    pub compatible: bool,
    /// As the protocol words them; none for a compatible schema.
    pub messages: Vec<String>,
    /// The same in words of ours.
    pub reasons: Vec<String>,
    /// What is read, but means something else.
    pub warnings: Vec<String>,
}

impl Book {
    /// Compares a new schema with what is there, by the subject's level.
    ///
    /// # Errors
    /// 40402 for a version that is not there, 42201.
    pub fn check(
        &self,
        subject: &Subject,
        new: &NewSchema,
        against: Against,
        normalize: bool,
    ) -> Result<Checked, Refusal> {
        let parsed = self.parse(subject, new, normalize)?;
        self.check_parsed(subject, &parsed, against)
    }

    pub(super) fn check_parsed(&self, subject: &Subject, new: &Parsed, against: Against) -> Result<Checked, Refusal> {
        let level = self.level(subject);
        let mut checked = Checked { compatible: true, ..Checked::default() };
        if level == Level::None {
            return Ok(checked);
        }
        for old in self.compared_with(subject, &new.entry, against, level)? {
            let known = self.schema_of(&subject.context, &old.entry)?;
            let reasons = between(&new.schema, &known, level, &mut checked);
            if !reasons.is_empty() {
                checked.compatible = false;
                checked.messages = reasons;
                checked.messages.push(format!("{{oldSchemaVersion: {}}}", old.version));
                checked.messages.push(format!("{{oldSchema: '{}'}}", old.entry.schema));
                let fields = self.setting(subject, "validateFields").is_some_and(|value| *value == Json::Bool(true));
                checked.messages.push(format!("{{validateFields: '{fields}', compatibility: '{}'}}", level.word()));
                break;
            }
        }
        Ok(checked)
    }

    /// The newest first.
    fn compared_with(
        &self,
        subject: &Subject,
        new: &Entry,
        against: Against,
        level: Level,
    ) -> Result<Vec<Found>, Refusal> {
        let group = self.setting(subject, "compatibilityGroup").and_then(Json::as_str);
        let group_of = |entry: &Entry| {
            let properties = entry.metadata.as_ref()?.get("properties")?;
            properties.get(group?).cloned()
        };
        match against {
            Against::Version(which @ Which::Number(number)) => {
                let found = self.version(subject, which, Deleted::Hidden);
                found.map(|found| vec![found]).map_err(|_| Refusal::no_version(number))
            }
            Against::Version(Which::Latest) => {
                Ok(self.version(subject, Which::Latest, Deleted::Hidden).into_iter().collect())
            }
            Against::Level => {
                let versions = self.live_versions(subject).rev().filter_map(|version| self.found(subject, version));
                let alike = versions.filter(|found| group.is_none() || group_of(&found.entry) == group_of(new));
                Ok(alike.take(if level.is_transitive() { usize::MAX } else { 1 }).collect())
            }
        }
    }

    /// A setting of the subject, its context or the registry.
    pub(super) fn setting(&self, subject: &Subject, key: &str) -> Option<&Json> {
        self.places(subject).iter().find_map(|place| self.configs.get(place)?.get(key))
    }

    /// Where settings of a subject are looked for.
    fn places(&self, subject: &Subject) -> [String; 3] {
        [subject.shown(), format!(":{}:", subject.context), String::new()]
    }

    pub(super) fn normalizes(&self, subject: &Subject) -> bool {
        self.setting(subject, "normalize").is_some_and(|value| *value == Json::Bool(true))
    }

    /// The level in force.
    pub fn level(&self, subject: &Subject) -> Level {
        self.setting(subject, LEVEL).and_then(Json::as_str).and_then(Level::from_word).unwrap_or_default()
    }

    /// The settings of one place: a subject, `:.context:`, or nothing. `inherited`: those in force there.
    ///
    /// # Errors
    /// 40408 if there are none.
    pub fn config(&self, place: &str, inherited: bool) -> Result<Map<String, Json>, Refusal> {
        let own = self.configs.get(&self.place(place)).filter(|config| !config.is_empty());
        let level = || Map::from_iter([(LEVEL.to_owned(), Json::from(Level::default().word()))]);
        match own {
            Some(config) => Ok(config.clone()),
            None if place.is_empty() => Ok(level()),
            None if inherited => {
                let places = self.places(&Subject::parse(place));
                Ok(places.iter().find_map(|place| self.configs.get(place)).cloned().unwrap_or_else(level))
            }
            None => {
                let message = format!("Subject '{place}' does not have subject-level compatibility configured");
                Err(Refusal::new(40408, message))
            }
        }
    }

    /// Sets what is given and leaves the rest; what is set now.
    ///
    /// # Errors
    /// 42203 for an unknown level, 42210 for rules that cannot be.
    pub fn set_config(&mut self, place: &str, given: &Map<String, Json>) -> Result<(), Refusal> {
        let level = given.get("compatibility").filter(|level| !level.is_null());
        let level = level.map(|level| {
            let known = level.as_str().and_then(Level::from_word);
            let words = Level::ALL.map(|(word, _)| word.to_lowercase()).join(", ");
            known.ok_or_else(|| Refusal::new(42203, format!("Invalid compatibility level. Valid values are {words}")))
        });
        let level = level.transpose()?;
        for key in ["defaultRuleSet", "overrideRuleSet"] {
            rules::check(given.get(key))?;
        }
        let place = self.place(place);
        let config = self.configs.entry(place.clone()).or_default();
        if let Some(level) = level {
            config.insert(LEVEL.into(), level.word().into());
        }
        for (key, value) in given.iter().filter(|(key, _)| KEPT.contains(&key.as_str())) {
            config.insert(key.clone(), value.clone());
        }
        config.retain(|_, value| !value.is_null());
        if config.is_empty() {
            self.configs.remove(&place);
        }
        Ok(())
    }

    /// Forgets the settings of a place; what they were.
    ///
    /// # Errors
    /// 40401 if there were none, except for the whole registry.
    pub fn delete_config(&mut self, place: &str) -> Result<Map<String, Json>, Refusal> {
        let old = self.config(place, false).map_err(|_| Refusal::no_subject(place))?;
        self.configs.remove(&self.place(place));
        Ok(old)
    }

    /// The mode in force.
    pub fn mode(&self, subject: &Subject) -> Mode {
        let global = self.modes.get("").copied();
        if global == Some(Mode::ReadonlyOverride) {
            return Mode::ReadonlyOverride;
        }
        self.places(subject).iter().find_map(|place| self.modes.get(place).copied()).unwrap_or_default()
    }

    /// The mode of one place.
    ///
    /// # Errors
    /// 40409 if it has none of its own.
    pub fn mode_of(&self, place: &str, inherited: bool) -> Result<Mode, Refusal> {
        match self.modes.get(&self.place(place)).copied() {
            Some(mode) => Ok(mode),
            None if place.is_empty() => Ok(Mode::default()),
            None if inherited => Ok(self.mode(&Subject::parse(place))),
            None => Err(Refusal::new(40409, format!("Subject '{place}' does not have subject-level mode configured"))),
        }
    }

    /// # Errors
    /// 42204 for an unknown mode, or one of the whole registry elsewhere; 42205 for IMPORT where there are schemas.
    pub fn set_mode(&mut self, place: &str, word: &str, force: bool) -> Result<Mode, Refusal> {
        let is_whole = self.place(place).is_empty();
        let mode = Mode::from_word(word).filter(|mode| is_whole || *mode != Mode::ReadonlyOverride);
        let mode = mode.ok_or_else(|| {
            let words = Mode::ALL.map(|(word, _)| word).join(", ");
            Refusal::new(42204, format!("Invalid mode. Valid values are {words}"))
        })?;
        if mode == Mode::Forward && !is_whole {
            return Err(Refusal::new(42204, "Forward mode only supported on global level"));
        }
        let is_set = self.modes.get(&self.place(place)) == Some(&mode);
        if mode == Mode::Import && !force && !is_set {
            let subject = Subject::parse(place);
            let is_there = if subject.name.is_empty() {
                let contexts = self.contexts.iter().filter(|(name, _)| place.is_empty() || **name == subject.context);
                contexts.into_iter().any(|(_, context)| !context.subjects.is_empty())
            } else {
                self.live_versions(&subject).next().is_some()
            };
            if is_there {
                return Err(Refusal::not_permitted("Cannot import since found existing subjects"));
            }
        }
        let place = self.place(place);
        self.modes.insert(place, mode);
        Ok(mode)
    }

    /// Forgets the mode of a place; what it was. `recursive`: also those of all that would inherit it.
    ///
    /// # Errors
    /// 40401 if it has none of its own.
    pub fn delete_mode(&mut self, place: &str, recursive: bool) -> Result<Mode, Refusal> {
        let own = self.place(place);
        let old = self.modes.get(&own).copied().ok_or_else(|| Refusal::no_subject(place))?;
        let is_below = |other: &str| {
            let parsed = Subject::parse(&own);
            recursive && parsed.name.is_empty() && (own.is_empty() || Subject::parse(other).context == parsed.context)
        };
        self.modes.retain(|other, _| *other != own && !is_below(other));
        Ok(old)
    }

    /// The default context's place has two names.
    fn place(&self, place: &str) -> String {
        if place == ":.:" { String::new() } else { Subject::parse(place).shown() }
    }
}

/// What keeps two schemas apart at a level, as the protocol words it; the rest goes into `checked`.
fn between(new: &Schema, old: &Schema, level: Level, checked: &mut Checked) -> Vec<String> {
    let mut messages = Vec::new();
    if level.looks_back() {
        let found = compatibility::can_read(new, old);
        messages.extend(found.reasons.iter().map(|reason| worded(reason, "new", "old")));
        checked.reasons.extend(found.texts());
        checked.warnings.extend(found.warnings);
    }
    if level.looks_forward() {
        let found = compatibility::can_read(old, new);
        messages.extend(found.reasons.iter().map(|reason| worded(reason, "old", "new")));
        let looking_back = |text| format!("for whoever still reads with the old schema: {text}");
        checked.reasons.extend(found.texts().into_iter().map(looking_back));
        if !level.looks_back() {
            checked.warnings.extend(found.warnings);
        }
    }
    messages
}

fn worded(reason: &Reason, reader: &str, writer: &str) -> String {
    let Reason { kind, pointer, about, .. } = reason;
    let description = match kind {
        Kind::ReaderFieldMissingDefaultValue => format!(
            "The field '{about}' at path '{pointer}' in the {reader} schema has no default value and is missing in the {writer} schema"
        ),
        Kind::TypeMismatch => {
            format!("The type at path '{pointer}' in the {reader} schema does not fit that of the {writer} schema")
        }
        Kind::NameMismatch => {
            format!("The name at path '{pointer}' of the {reader} schema is another one in the {writer} schema")
        }
        Kind::FixedSizeMismatch => {
            format!("The size at path '{pointer}' of the {reader} schema is not that of the {writer} schema")
        }
        Kind::MissingEnumSymbols => {
            format!("The {reader} schema lacks symbols of the {writer} schema's enum at path '{pointer}'")
        }
        Kind::MissingUnionBranch => {
            format!("The {reader} schema lacks a branch of the {writer} schema's union at path '{pointer}'")
        }
    };
    format!("{{errorType:'{}', description:'{description}', additionalInfo:'{about}'}}", kind.word())
}
