//! The watermark: "no record with an event time below this is expected any more".

use serde::{Deserialize, Serialize};

use super::Millis;

/// A point in event time that only moves forward (I1). [`Watermark::NONE`] is before every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(Millis);

impl Watermark {
    /// Nothing was seen yet: no window is closed and no row is late.
    pub const NONE: Watermark = Watermark(Millis::MIN);

    pub fn at(time: Millis) -> Self {
        Watermark(time)
    }

    /// The time, if there is any.
    pub fn time(self) -> Option<Millis> {
        (self != Self::NONE).then_some(self.0)
    }

    /// As many milliseconds earlier; nothing stays nothing.
    pub fn earlier_by(self, ms: Millis) -> Watermark {
        self.time().map_or(Self::NONE, |time| Self::at(time.saturating_sub(ms)))
    }

    /// I4: a window is closed when its end plus grace is at or below the watermark.
    pub fn has_closed(self, end: Millis, grace_ms: Millis) -> bool {
        self != Self::NONE && end.saturating_add(grace_ms) <= self.0
    }
}
