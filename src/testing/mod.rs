//! `runner test`: whole pipelines as data, through the production code with virtual time.
//!
//! A test's sources are replaced by memory, its sinks tapped; between them are the plan's own
//! decoders, steps, encoders, and the engine's lanes, trunk, coordinator and recovery. Each case is
//! run again in other batch sizes, with other numbers of lanes, and with a crash before and after every
//! commit: always the same rows.

pub mod bless;
pub mod case;
mod compare;
mod drive;
mod rows;
pub mod suite;
mod tap;
#[cfg(test)]
mod tests;

pub use compare::Mismatch;
pub use drive::Variant;
