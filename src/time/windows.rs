//! Which window an event time falls into.

use super::Millis;

/// How event time is cut into windows, each `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// Windows of one size that follow one another, aligned to the Unix epoch plus `offset_ms`.
    Tumbling { size_ms: Millis, offset_ms: Millis },
}

impl Windows {
    /// How much time a window spans.
    pub fn size_ms(&self) -> Millis {
        let Windows::Tumbling { size_ms, .. } = *self;
        size_ms
    }

    /// Start of the window that holds `time`. Times before 1970 are floored too, not truncated.
    /// Saturates at the ends of time, which only broken records reach.
    pub fn start_of(&self, time: Millis) -> Millis {
        let Windows::Tumbling { size_ms, offset_ms } = *self;
        time.saturating_sub(offset_ms).div_euclid(size_ms).saturating_mul(size_ms).saturating_add(offset_ms)
    }

    /// End (exclusive) of the window that starts at `start`.
    pub fn end_of(&self, start: Millis) -> Millis {
        let Windows::Tumbling { size_ms, .. } = *self;
        start.saturating_add(size_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_SECONDS: Windows = Windows::Tumbling { size_ms: 5_000, offset_ms: 0 };

    #[test]
    fn window_holds_its_start_and_not_its_end() {
        assert_eq!(FIVE_SECONDS.start_of(5_000), 5_000);
        assert_eq!(FIVE_SECONDS.start_of(9_999), 5_000);
        assert_eq!(FIVE_SECONDS.start_of(10_000), 10_000);
    }

    #[test]
    fn times_before_1970_are_floored() {
        assert_eq!(FIVE_SECONDS.start_of(-1), -5_000);
        assert_eq!(FIVE_SECONDS.end_of(-5_000), 0);
    }

    #[test]
    fn the_ends_of_time_have_windows_too() {
        for time in [Millis::MIN, Millis::MAX] {
            let start = FIVE_SECONDS.start_of(time);
            assert!(start <= time && FIVE_SECONDS.end_of(start) >= time);
        }
    }
}
