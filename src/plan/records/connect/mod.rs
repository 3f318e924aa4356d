//! Records by Kafka Connect's converters and transformations: `format: connect`.
//!
//! [`written`] makes records of rows, as a source connector does: a row becomes a value of Connect's ([`cells`]), goes through the
//! transformations and is converted to bytes. [`read`] makes lines of records, as the file connector for sinks does: the
//! original bytes are converted to values first. Row by row, for what a transformation makes of one record says nothing of
//! the next; but rows whose transformations are known to treat all alike go through as columns ([`fast`]).
//!
//! A record that cannot be converted or transformed is a dead letter, which says by whom in Connect's words.

mod cells;
mod fast;
mod logged;
pub mod read;
#[cfg(test)]
mod tests;
pub mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;

use self::logged::ErrorLog;
use crate::data::{Batch, ConnectStage, DeadLetter, EncodedRecord, EncodedRows, dead_letter};
use crate::kafka_connect::converters::{self, AvroConverter, Converter, Dialect};
use crate::kafka_connect::transforms::Chain;
use crate::kafka_connect::{ConfigError, ConnectError, Header, Record, Schema, Settings, exception_of};
use crate::registry::{Registry, Side};
use crate::report::Failure;

/// What was written behind `format: connect`, by Connect's own keys, and the registry for Avro.
#[derive(Clone)]
pub struct ConnectSettings {
    pub all: BTreeMap<String, String>,
    pub registry: Option<Arc<dyn Registry>>,
}

impl fmt::Debug for ConnectSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ConnectSettings").field("all", &self.all).finish_non_exhaustive()
    }
}

/// Where Connect keeps a converter's class.
const KEY: &str = "key.converter";
const VALUE: &str = "value.converter";
const HEADER: &str = "header.converter";

/// Connect's words for the places at which a record may be refused.
mod stage {
    pub const KEY: &str = "KEY_CONVERTER";
    pub const VALUE: &str = "VALUE_CONVERTER";
    pub const HEADER: &str = "HEADER_CONVERTER";
    pub const TRANSFORMATION: &str = "TRANSFORMATION";
}

impl ConnectSettings {
    /// True if a key or value is Avro, which needs a registry.
    pub fn wants_registry(&self) -> bool {
        [KEY, VALUE, HEADER].iter().any(|key| self.all.get(*key).is_some_and(|class| converters::is_avro(class)))
    }

    /// How schemas of values stand for Avro's.
    pub fn avro_dialect(&self) -> Dialect {
        Dialect::of(Settings::new(&self.all, "value.converter.")).unwrap_or_default()
    }

    /// Opens converters and transformations.
    ///
    /// # Errors
    /// All settings that cannot be.
    pub fn open(&self) -> Result<Machinery, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let mut named = |key: &'static str, default: Option<&str>| {
            self.converter(key, default).map_err(|error| wrong.push(error)).ok()
        };
        let key = named(KEY, None);
        let value = named(VALUE, None);
        let header = named(HEADER, Some(converters::SIMPLE_HEADER));
        let chain = Chain::new(&self.all).map_err(|errors| wrong.extend(errors)).ok();
        let log = ErrorLog::of(Settings::new(&self.all, "")).map_err(|error| wrong.push(error)).ok();
        match (key, value, header, chain, log) {
            (Some(key), Some(value), Some(header), Some(chain), Some(log)) => {
                Ok(Machinery { key, value, header, chain, log })
            }
            _ => Err(wrong),
        }
    }

    fn converter(&self, key: &'static str, default: Option<&str>) -> Result<Named, ConfigError> {
        let settings = Settings::new(&self.all, "");
        let class = match settings.get(key).or(default) {
            Some(class) => class,
            None => settings.required(key)?,
        };
        let prefix = format!("{key}.");
        let own = Settings::new(&self.all, &prefix);
        if let (true, Some(registry)) = (converters::is_avro(class), &self.registry) {
            let side = if key == KEY { Side::Key } else { Side::Value };
            let converter = AvroConverter::new(own, registry.clone(), side)?;
            return Ok(Named { class: converters::AVRO.into(), converter: Box::new(converter) });
        }
        let made = match key {
            HEADER => converters::header_converter(class, own),
            _ => converters::converter(class, own),
        };
        match made {
            Some(made) => Ok(Named { class: converters::full_name(class).into(), converter: made? }),
            None => Err(settings.invalid(key, class, &format!("Class {class} could not be found."))),
        }
    }

    fn machinery(&self) -> Result<Machinery, Failure> {
        self.open().map_err(|wrong| {
            let first = wrong.into_iter().next().map_or_else(String::new, |error| error.message);
            Failure::bug("connect.settings", format!("settings that were checked do not hold: {first}"))
        })
    }
}

/// A converter and its class.
pub struct Named {
    class: String,
    converter: Box<dyn Converter>,
}

/// Converters and transformations at work in one lane.
pub struct Machinery {
    key: Named,
    value: Named,
    header: Named,
    pub chain: Chain,
    log: ErrorLog,
}

/// Why a record goes no further.
struct Trouble {
    stage: &'static str,
    class: String,
    error: ConnectError,
}

impl Named {
    fn trouble(&self, stage: &'static str) -> impl Fn(ConnectError) -> Box<Trouble> {
        move |error| Box::new(Trouble { stage, class: self.class.clone(), error })
    }
}

impl Machinery {
    /// The converters' classes, for people.
    pub fn shown(&self) -> String {
        let short = |named: &Named| named.class.rsplit('.').next().unwrap_or_default().to_owned();
        format!("{} (keys: {})", short(&self.value), short(&self.key))
    }

    /// True if values are the rows as they are, in Avro.
    pub fn writes_avro(&self) -> bool {
        self.value.class == converters::AVRO && self.chain.is_empty()
    }

    /// The record behind the transformations; `None`: it was dropped.
    fn transform(&self, record: Record) -> Result<Option<Record>, Box<Trouble>> {
        self.chain.apply(record).map_err(|refused| {
            let (class, error) = (refused.class.to_owned(), refused.error);
            Box::new(Trouble { stage: stage::TRANSFORMATION, class, error })
        })
    }

    /// The bytes of a record, in the order in which Connect makes them.
    fn convert(&self, record: &Record, out: &mut EncodedRows) -> Result<EncodedRecord, Box<Trouble>> {
        let headers = self.put_headers(&record.topic, &record.headers, out)?;
        let key = self.key.converter.encode(&record.topic, &record.key).map_err(self.key.trouble(stage::KEY))?;
        let value =
            self.value.converter.encode(&record.topic, &record.value).map_err(self.value.trouble(stage::VALUE))?;
        let key = key.map(|key| out.put(&key));
        let value = value.map(|value| out.put(&value));
        Ok(EncodedRecord { key, value, timestamp: record.timestamp, headers })
    }

    fn put_headers(&self, topic: &str, headers: &[Header], out: &mut EncodedRows) -> Result<Range<u32>, Box<Trouble>> {
        let start = out.headers.len() as u32;
        for header in headers {
            let value = self.header.converter.encode(topic, &header.datum);
            let value = value.map_err(self.header.trouble(stage::HEADER))?;
            let entry = (out.put(header.name.as_bytes()), value.map(|value| out.put(&value)));
            out.headers.push(entry);
        }
        Ok(start..out.headers.len() as u32)
    }
}

impl Trouble {
    /// A dead letter of the row, or a failure if it is no fault of the row's.
    fn settle(self, batch: &Batch, row: usize) -> Result<DeadLetter, Failure> {
        let Trouble { stage, class, error } = self;
        if error.away {
            return Err(Failure::outside("connect.registry_away", error.message));
        }
        let code = match stage {
            stage::KEY => "connect.key_converter",
            stage::VALUE => "connect.value_converter",
            stage::HEADER => "connect.header_converter",
            _ => "connect.transformation",
        };
        let connect = Some(Box::new(ConnectStage { stage, class, exception: exception_of(&error.message) }));
        Ok(DeadLetter { connect, ..dead_letter(batch, row, code, error.message) })
    }
}

/// What was made of a batch ahead of its turn: see [`crate::plan::RecordEncoder::prepare`].
#[derive(Default)]
struct Ahead(Option<(EncodedRows, Vec<DeadLetter>)>);

impl Ahead {
    fn take(&mut self, dead: &mut Vec<DeadLetter>) -> Option<EncodedRows> {
        let (rows, mut letters) = self.0.take()?;
        dead.append(&mut letters);
        Some(rows)
    }
}

/// Checks that a column of this type can be a value of this schema.
///
/// # Errors
/// [`Failure`] if it cannot.
pub fn check_column(column: &arrow::datatypes::DataType, schema: &Arc<Schema>) -> Result<(), Failure> {
    let empty: ArrayRef = arrow::array::new_empty_array(column);
    cells::Cells::of(&empty, schema).map(drop)
}
