//! The integration tests, in one binary: each one more would link DataFusion again.

mod kafka;
mod servers;
