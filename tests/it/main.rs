//! The one integration-test binary: each of them links DataFusion, so there is one.

mod cases;
mod errors;
mod examples;
mod house;
mod kafka;
mod registry;
mod runner;
mod schema;
mod servers;
