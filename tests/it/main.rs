//! The one integration-test binary: each of them links DataFusion, so there is one.

mod errors;
mod house;
mod kafka;
mod registry;
mod runner;
mod servers;
