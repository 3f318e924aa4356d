//! SQL expressions, typed against a real schema when the plan is made.
//!
//! The one door to DataFusion: its planner, coercion, physical expressions and grouped
//! accumulators. Everything else in the project sees text, Arrow arrays and the types below.
//!
//! Text goes `names` (tokens, names as written, syntax) → `check` (columns and functions exist) →
//! `plan` (types) → `scalar` or `aggregates`. An evaluation is a function of the row and [`At`]:
//! nothing is random, and `now()` is the epoch's clock (I3).

mod accumulators;
mod aggregates;
mod check;
mod error;
mod functions;
#[cfg(test)]
mod naive;
mod names;
mod plan;
mod scalar;
mod types;

pub use accumulators::{Accumulators, Finished};
pub use aggregates::{AggregateError, Aggregates};
pub use error::{ExprError, RowError};
pub use scalar::Scalar;
pub use types::{TypeWord, type_word};

use crate::time::Millis;

/// What an expression may ask of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The epoch's clock: what `now()` gives (I3).
    pub clock: Millis,
}
