//! The one integration-test binary: each of them links DataFusion, so there is one.

mod crash;
mod errors;
mod house;
mod kafka;
mod runner;
mod servers;
