//! Time: the clock that tests and replay can move, event-time watermarks, window arithmetic.
//!
//! Everything in the engine counts in whole milliseconds since the Unix epoch, in UTC. Finer event
//! times are floored: windows are whole milliseconds long, so flooring never changes a window.

pub mod clock;
pub mod duration;
pub mod watermark;
pub mod windows;

pub use clock::{Clock, ManualClock, SystemClock};
pub use watermark::Watermark;
pub use windows::Windows;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;
