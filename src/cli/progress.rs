//! A progress bar on stderr, where a person looks.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Shows how far something is; on anything but a terminal nothing.
pub struct Progress(ProgressBar);

impl Progress {
    /// `total` in records; `shown` false: the terminal is in use otherwise.
    pub fn new(total: u64, shown: bool) -> Progress {
        let target = if shown { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template(
            "{wide_bar} {human_pos} of {human_len} records, {whole_per_second} a second, {eta} left",
        );
        // The library's own rate has four digits behind the point.
        let whole = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
        };
        let style = style.expect("the template is right").with_key("whole_per_second", whole);
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    /// In thousandths.
    pub fn share(shown: bool) -> Progress {
        let progress = Progress::new(1_000, shown);
        let style = ProgressStyle::with_template("{wide_bar} {percent} %, {eta} left");
        progress.0.set_style(style.expect("the template is right").progress_chars("█▉▊▋▌▍▎▏ "));
        progress
    }

    pub fn at(&self, position: u64) {
        self.0.set_position(position);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
