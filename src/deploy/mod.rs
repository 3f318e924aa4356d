//! From a plan to the world: what must be there before a pipeline starts.

pub mod apply;

pub use apply::prepare;
