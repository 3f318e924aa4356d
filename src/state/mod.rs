//! Snapshots: what stateful steps keep, written down as of an epoch's end, so that a restart replays little.
//!
//! A [`Store`] holds objects by name, a [`Shelf`] the snapshots of one pipeline in it. A snapshot is one object of
//! columns and a [`Manifest`] that names and sums it; it is there once its manifest is.

mod manifest;
mod shelf;
mod store;

pub use manifest::{Manifest, Part, StepState};
pub use shelf::{Found, Head, Rows, Shelf, StateOf};
pub use store::Store;
#[cfg(test)]
pub use store::weather::Strike;
