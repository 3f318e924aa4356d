//! Which windows an event time falls into.
//!
//! Windows that overlap (`every` below `size`) are put together from *panes*: the longest stretches of time
//! that no window's start or end cuts. A row is counted once, in its pane. Windows that do not overlap are
//! one pane each.

use super::{Millis, Watermark};

/// How event time is cut into windows, each `[start, end)`: one of `size_ms` begins every `every_ms`, aligned to
/// the Unix epoch plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    size_ms: Millis,
    every_ms: Millis,
    offset_ms: Millis,
    /// What the two have in common.
    pane_ms: Millis,
}

impl Windows {
    /// Windows that follow one another.
    pub const fn tumbling(size_ms: Millis, offset_ms: Millis) -> Self {
        Windows { size_ms, every_ms: size_ms, offset_ms, pane_ms: size_ms }
    }

    /// Windows that overlap: `every_ms` is above 0 and at most `size_ms`.
    pub const fn hopping(size_ms: Millis, every_ms: Millis, offset_ms: Millis) -> Self {
        let (mut a, mut b) = (size_ms, every_ms);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Windows { size_ms, every_ms, offset_ms, pane_ms: a }
    }

    /// True if windows overlap.
    pub const fn overlap(&self) -> bool {
        self.every_ms < self.size_ms
    }

    /// How much time a window spans.
    pub const fn size_ms(&self) -> Millis {
        self.size_ms
    }

    /// From one window's start to the next one's.
    pub const fn every_ms(&self) -> Millis {
        self.every_ms
    }

    /// How long a pane is: what size and every have in common.
    pub const fn pane_ms(&self) -> Millis {
        self.pane_ms
    }

    /// Start of the pane that holds `time`. Times before 1970 are floored too, not truncated.
    /// Saturates at the ends of time, which only broken records reach.
    pub fn pane_of(&self, time: Millis) -> Millis {
        floor(time, self.pane_ms, self.offset_ms)
    }

    /// Starts of the panes that hold these times. Neighbours are mostly of one pane: a division for each would be most of
    /// the work.
    pub fn panes_of(&self, times: &[Millis]) -> Vec<Millis> {
        let mut pane = None;
        let pane_of = |time: &Millis| match pane {
            // Panes at the ends of time are cut off; nothing is concluded from them.
            Some(pane) if pane > Millis::MIN / 2 && pane <= *time && time.saturating_sub(pane) < self.pane_ms => pane,
            _ => *pane.insert(self.pane_of(*time)),
        };
        times.iter().map(pane_of).collect()
    }

    /// Start of the newest window that holds `time`.
    pub fn last_start_of(&self, time: Millis) -> Millis {
        floor(time, self.every_ms, self.offset_ms)
    }

    /// Start of the oldest window that ends behind `time`.
    pub fn first_start_of(&self, time: Millis) -> Millis {
        let last = self.last_start_of(time);
        // The window before still holds it as long as `time` is before its end.
        let earlier = (last.saturating_add(self.size_ms).saturating_sub(time) - 1).max(0) / self.every_ms;
        last.saturating_sub(earlier.saturating_mul(self.every_ms))
    }

    /// Starts of the windows that hold the pane, ascending.
    pub fn starts_of(&self, pane: Millis) -> impl Iterator<Item = Millis> + use<> {
        let (last, every_ms) = (self.last_start_of(pane), self.every_ms);
        let first = Some(self.first_start_of(pane));
        std::iter::successors(first, move |start| start.checked_add(every_ms)).take_while(move |start| *start <= last)
    }

    /// Start of the oldest window that is open at this watermark. I4: what begins before it, window or pane, is closed
    /// or lies in closed windows only.
    pub fn first_open(&self, watermark: Watermark, grace_ms: Millis) -> Millis {
        let Some(time) = watermark.time() else { return Millis::MIN };
        let closed = time.saturating_sub(grace_ms).saturating_sub(self.size_ms);
        self.last_start_of(closed).saturating_add(self.every_ms)
    }

    /// End (exclusive) of the window that starts at `start`.
    pub fn end_of(&self, start: Millis) -> Millis {
        start.saturating_add(self.size_ms)
    }
}

fn floor(time: Millis, step_ms: Millis, offset_ms: Millis) -> Millis {
    time.saturating_sub(offset_ms).div_euclid(step_ms).saturating_mul(step_ms).saturating_add(offset_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_SECONDS: Windows = Windows::tumbling(5_000, 0);

    fn starts(windows: Windows, pane: Millis) -> Vec<Millis> {
        windows.starts_of(pane).collect()
    }

    #[test]
    fn window_holds_its_start_and_not_its_end() {
        assert_eq!(FIVE_SECONDS.pane_of(5_000), 5_000);
        assert_eq!(FIVE_SECONDS.pane_of(9_999), 5_000);
        assert_eq!(FIVE_SECONDS.pane_of(10_000), 10_000);
        assert_eq!(starts(FIVE_SECONDS, 5_000), [5_000]);
    }

    #[test]
    fn times_before_1970_are_floored() {
        assert_eq!(FIVE_SECONDS.pane_of(-1), -5_000);
        assert_eq!(FIVE_SECONDS.end_of(-5_000), 0);
    }

    #[test]
    fn panes_of_many_times_are_those_of_each() {
        for windows in [FIVE_SECONDS, Windows::hopping(5_000, 2_000, 700)] {
            let ends = [Millis::MIN, Millis::MIN + 1, Millis::MIN + 5_001, Millis::MAX - 1, Millis::MAX];
            let times: Vec<Millis> = ends.into_iter().chain((-30_000..30_000).step_by(333)).chain(ends).collect();
            let panes: Vec<Millis> = times.iter().map(|time| windows.pane_of(*time)).collect();
            assert_eq!(windows.panes_of(&times), panes);
        }
    }

    #[test]
    fn the_ends_of_time_have_windows_too() {
        for windows in [FIVE_SECONDS, Windows::hopping(5_000, 2_000, 700)] {
            for time in [Millis::MIN, Millis::MAX] {
                let start = windows.pane_of(time);
                assert!(start <= time || time == Millis::MIN);
                assert!(windows.end_of(windows.last_start_of(time)) >= time);
                assert!(windows.starts_of(start).count() <= 3);
            }
        }
    }

    #[test]
    fn a_pane_is_what_size_and_every_have_in_common() {
        assert_eq!(Windows::hopping(3_600_000, 300_000, 0).pane_ms(), 300_000);
        assert_eq!(Windows::hopping(5_000, 2_000, 0).pane_ms(), 1_000);
        assert_eq!(FIVE_SECONDS.pane_ms(), 5_000);
    }

    #[test]
    fn i4_the_first_open_window_is_the_first_that_has_not_closed() {
        for (size, every, offset, grace) in [(10, 10, 0, 0), (10, 5, 0, 0), (10, 3, 1, 2), (7, 2, 0, 9)] {
            let windows = Windows::hopping(size, every, offset);
            for time in -40..40 {
                let is_start = |start: &Millis| (start - offset).rem_euclid(every) == 0;
                let is_open = |start: &Millis| !Watermark::at(time).has_closed(windows.end_of(*start), grace);
                let expected = (-80..80).filter(is_start).find(is_open);
                assert_eq!(Some(windows.first_open(Watermark::at(time), grace)), expected);
            }
            assert_eq!(windows.first_open(Watermark::NONE, grace), Millis::MIN);
        }
    }

    /// Against the definition: window s holds time t if s ≤ t < s + size, and s is a multiple of every plus the offset.
    #[test]
    fn the_windows_of_a_pane_are_those_that_hold_all_its_times() {
        for (size, every, offset) in [(10, 5, 0), (10, 3, 0), (7, 2, 1), (12, 12, 5), (9, 6, 4), (5, 4, 3)] {
            let windows = Windows::hopping(size, every, offset);
            for time in -40..40 {
                let pane = windows.pane_of(time);
                assert!(pane <= time && time < pane + windows.pane_ms());
                let holds = |start: &Millis| {
                    (start - offset).rem_euclid(every) == 0 && *start <= time && time < windows.end_of(*start)
                };
                let expected: Vec<Millis> = (-80..80).filter(holds).collect();
                assert_eq!(starts(windows, pane), expected, "{size} every {every} offset {offset} at {time}");
                assert_eq!(Some(&windows.first_start_of(pane)), expected.first());
                assert_eq!(Some(&windows.last_start_of(time)), expected.last());
            }
        }
    }
}
