//! What an upstream tells of its own limits.

use std::time::Duration;

use super::Loader;
use crate::recipe::{Counts, Throttle, written};

/// The longest pause and the longest window that make sense; more is a slip of the unit.
const TIME_MAX: Duration = Duration::from_secs(15 * 60);

impl Loader<'_> {
    pub(super) fn throttle(&mut self, written: &written::Throttle) -> Throttle {
        let remaining = written.remaining.as_deref();
        let reset = written.reset.as_ref();
        if remaining.is_some() && reset.is_none() && written.window.is_none() {
            let message = "nothing says when there are more: give `reset` or `window`, too";
            self.fault("/throttle/remaining", message);
        }
        if remaining.is_none() && written.window.is_some() {
            self.fault("/throttle/window", "without `remaining` nothing is counted in windows");
        }
        Throttle {
            pause: self.time("/throttle/pause", Some(&written.pause)).unwrap_or_default(),
            remaining: remaining.and_then(|name| self.header_name("/throttle/remaining", name)),
            reset: reset.and_then(|reset| {
                let name = self.header_name("/throttle/reset/header", &reset.header)?;
                Some((name, reset.unit))
            }),
            window: self.time("/throttle/window", written.window.as_deref()),
            ratelimit: written.ratelimit,
            counts_apart: written.counts == Counts::Apart,
        }
    }

    fn time(&mut self, at: &str, text: Option<&str>) -> Option<Duration> {
        let time = self.duration(at, text)?;
        if time.is_zero() || time > TIME_MAX {
            self.fault(at, "this time is longer than nothing and at most 15 minutes");
        }
        Some(time)
    }
}
