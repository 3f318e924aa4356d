//! The epoch engine: runs a plan, commits it, recovers it.
//!
//! A batch's way: `Lane` (read, decode, fused row steps, pre-aggregate, encode) → `Trunk` (merge at
//! the mark, close windows, encode, in `pieces`) → `Committer` (journal with the transactional sinks, then the others).
//! The `Coordinator` decides when an epoch is cut and what its watermark is; it is pure, as is `recovery`.
//! `job` owns every worker and channel, `pool` the threads that they run in; `Lane`, `Trunk` and `Coordinator` run as well on one
//! thread with a clock that stands still, which is how `runner test` drives them.

mod away;
mod branch;
pub mod carry;
pub mod commit;
pub mod coordinator;
mod failed;
pub mod graph;
mod headers;
pub mod job;
pub mod kept;
pub mod lane;
mod learnt;
pub mod memory;
pub mod metrics;
pub mod pieces;
mod pool;
mod pulse;
pub mod recovery;
pub mod reported;
mod restart;
pub mod seat;
pub mod sinks;
pub mod snapshots;
pub mod start;
mod targets;
pub mod telling;
mod timestamps;
pub mod trunk;

pub use job::{Job, Outcome, RunOptions};
pub use metrics::Metrics;
