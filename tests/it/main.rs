//! The one integration-test binary: each of them links DataFusion, so there is one.

mod cli;
mod commercials;
mod crash;
mod errors;
mod formats;
mod gate;
mod house;
mod kafka;
mod registry;
mod runner;
mod servers;
mod specs;
