//! Kafka Connect's language: its data model, converters, transformations and predicates, without Connect.
//!
//! Pure: records in, records out, no client and no thread. [`converters`] are between bytes and a
//! [`Datum`] (a value and its schema, if it has one), [`transforms`] change a [`Record`], one after the other.
//! Classes, settings, results and messages are those of Apache Kafka 4.3, checked against it (`tests.rs`). Where
//! the genuine classes lose or garble data in silence (an integer that wraps, a number read as 0), here it is an error.

pub mod columns;
pub mod config;
pub mod converters;
pub mod json;
pub mod pattern;
pub mod predicates;
pub mod record;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod transforms;
pub mod value;

pub use config::{ConfigError, Settings};
pub use record::{ConnectError, Datum, Header, Record, exception_of};
pub use schema::{Field, Kind, Logical, Schema};
pub use value::{Decimal, Struct, Value};
