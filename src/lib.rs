//! `runner`: YAML in, exactly-once pipelines on Kafka out.
//!
//! The table of contents, from the ground up. A room uses lower floors only; ARCHITECTURE.md has
//! the floors, the doors and the invariants (I1 …) that the code quotes.

// Floor 1
pub mod disk;
pub mod faults;
pub mod report;
pub mod time;
// Floor 2
pub mod data;
// Floor 3
pub mod registry;
pub mod spec;
// Floor 4
pub mod expr;
pub mod formats;
pub mod journal;
pub mod kafka_connect;
pub mod state;
// Floor 5
pub mod connectors;
pub mod transforms;
// Floor 6
pub mod connect;
pub mod generate;
pub mod plan;
// Floor 7
pub mod engine;
// Floor 8
pub mod chaos;
pub mod deploy;
pub mod testing;
pub mod verify;
// Floor 9
pub mod server;
// Floor 10
pub mod cli;
