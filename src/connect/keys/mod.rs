//! The settings of classes. Names, types, defaults, orders and words are Connect's; the texts are ours.

pub mod clients;
pub mod common;
pub mod connectors;
pub mod converters;
pub mod transforms;
