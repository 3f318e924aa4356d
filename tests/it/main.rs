//! The one integration-test binary: each of them links DataFusion, so there is one.

mod cases;
mod certificates;
mod cli;
mod commercials;
mod crash;
mod damaged;
mod disk;
mod doorman;
mod errors;
mod examples;
mod fail;
mod formats;
mod frames;
mod gate;
mod generate;
mod house;
mod kafka;
mod operations;
mod pressure;
mod registry;
mod runner;
mod schema;
mod security;
mod servers;
mod specs;
mod topics;
