//! Bad records in the log: `errors.log.enable`, in the words in which Kafka Connect reports them.

use crate::data::{DeadLetter, partition};
use crate::kafka_connect::{ConfigError, Settings};

/// Names of the settings.
const ENABLE: &str = "errors.log.enable";
const WITH_RECORDS: &str = "errors.log.include.messages";

/// Logs what was refused, if that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ErrorLog(Option<Logged>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Logged {
    connector: String,
    /// Where the record stands is told too; not what is in it.
    with_records: bool,
}

impl ErrorLog {
    /// # Errors
    /// A setting that is neither true nor false.
    pub fn of(settings: Settings<'_>) -> Result<ErrorLog, ConfigError> {
        let (enabled, with_records) = (settings.boolean(ENABLE, false)?, settings.boolean(WITH_RECORDS, false)?);
        let connector = settings.get("name").unwrap_or_default().to_owned();
        Ok(ErrorLog(enabled.then_some(Logged { connector, with_records })))
    }

    pub fn tell(&self, letters: &[DeadLetter]) {
        for letter in letters {
            if let Some(line) = self.line(letter) {
                tracing::error!("{line}");
            }
        }
    }

    /// The report, and the exception below it.
    fn line(&self, letter: &DeadLetter) -> Option<String> {
        let Logged { connector, with_records } = self.0.as_ref()?;
        let refused = letter.connect.as_deref()?;
        let record = match (with_records, letter.topic.is_empty()) {
            (false, _) => String::new(),
            (true, false) => {
                let time =
                    letter.timestamp.map_or(String::new(), |ms| format!(", timestamp={ms}, timestampType=CreateTime"));
                format!(
                    ", where consumed record is {{topic='{}', partition={}, offset={}{time}}}",
                    letter.topic,
                    partition::number(letter.partition),
                    letter.offset
                )
            }
            (true, true) => format!(
                ", where source record is = SourceRecord{{sourcePartition={}, sourceOffset={}}}",
                partition::number(letter.partition),
                letter.offset
            ),
        };
        Some(format!(
            "Error encountered in task {connector}-0. Executing stage '{}' with class '{}'{record}.\n{}: {}",
            refused.stage, refused.class, refused.exception, letter.reason
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::ConnectStage;

    fn log(given: &[(&str, &str)]) -> ErrorLog {
        let all: BTreeMap<String, String> =
            given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ErrorLog::of(Settings::new(&all, "")).unwrap()
    }

    #[test]
    fn a_bad_record_is_told_as_connect_tells_it() {
        let connect = ConnectStage {
            stage: "VALUE_CONVERTER",
            class: "org.apache.kafka.connect.json.JsonConverter".into(),
            exception: "org.apache.kafka.connect.errors.DataException",
        };
        let letter = DeadLetter {
            source: 0,
            topic: "dl1".into(),
            partition: 0,
            offset: 1,
            timestamp: Some(5),
            key: None,
            value: None,
            headers: Vec::new(),
            step: String::new(),
            code: "connect.value_converter".into(),
            reason: "no JSON".into(),
            connect: Some(Box::new(connect)),
        };
        assert_eq!(log(&[("name", "dl")]).line(&letter), None);
        let told = "Error encountered in task dl-0. Executing stage 'VALUE_CONVERTER' with class 'org.apache.kafka.connect.json.JsonConverter'";
        let thrown = "\norg.apache.kafka.connect.errors.DataException: no JSON";
        let short = log(&[("name", "dl"), (ENABLE, "true")]);
        assert_eq!(short.line(&letter), Some(format!("{told}.{thrown}")));
        let whole = log(&[("name", "dl"), (ENABLE, "true"), (WITH_RECORDS, "true")]);
        let record = "{topic='dl1', partition=0, offset=1, timestamp=5, timestampType=CreateTime}";
        assert_eq!(whole.line(&letter), Some(format!("{told}, where consumed record is {record}.{thrown}")));
        // Refused by somebody else than Connect's classes: it is no business of theirs.
        assert_eq!(whole.line(&DeadLetter { connect: None, ..letter }), None);
    }
}
