//! What an upstream says is left of its own limit, answer by answer. No I/O and no clock.

use std::time::Duration;

use crate::clock::Moment;

/// What an answer says is left of the upstream's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How many requests are left.
    pub left: u64,
    /// When there are more.
    pub reset: Reset,
}

/// When an upstream's limit is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// After this time, as the answer says.
    After(Duration),
    /// The answer does not say; the upstream counts in windows of this length.
    Window(Duration),
}

/// The upstream's present window, as far as its answers tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window(Option<(Moment, u64)>);

impl Window {
    /// Takes a reading in. Returns until when nothing is left, if nothing is.
    ///
    /// Where answers do not say when a window ends, they show when it begins: more is left than
    /// before. The first of its answers comes after its beginning, so the end that is counted from
    /// there is never too early. Answers that overtake each other make it later, by less than one
    /// window.
    pub(super) fn read(&mut self, reading: Reading, now: Moment) -> Option<Moment> {
        let end = match reading.reset {
            Reset::After(time) => now + time,
            Reset::Window(length) => {
                let goes_on = self.0.filter(|(began, left)| {
                    reading.left < *left && now.saturating_since(*began) < length
                });
                let began = goes_on.map_or(now, |(began, _)| began);
                self.0 = Some((began, reading.left));
                began + length
            }
        };
        (reading.left == 0).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(1000) + Duration::from_millis(milliseconds)
    }

    fn readings(readings: &[(u64, u64)]) -> Option<Moment> {
        let mut window = Window::default();
        let read = |(when, left): &(u64, u64)| {
            let reading = Reading { left: *left, reset: Reset::Window(SECOND) };
            window.read(reading, at(*when))
        };
        readings.iter().map(read).last().flatten()
    }

    /// Fails when a window is taken to end too early, so that requests meet a 429, or a whole window
    /// after its last request, so that half of what the upstream allows is lost.
    #[test]
    fn a_window_without_a_told_end_is_counted_from_its_first_answer() {
        assert_eq!(readings(&[(0, 2), (400, 1), (800, 0)]), Some(at(1000)));
        assert_eq!(readings(&[(0, 2), (400, 1), (900, 2), (950, 1), (990, 0)]), Some(at(1900)));
        // One that begins as the last one ended shows no more than that.
        assert_eq!(readings(&[(0, 2), (1100, 1), (1200, 0)]), Some(at(2100)));
        assert_eq!(readings(&[(0, 0), (1300, 0)]), Some(at(2300)));
        assert_eq!(readings(&[(0, 2), (400, 1)]), None);
    }

    #[test]
    fn a_told_end_is_taken_as_it_is() {
        let reading = |left| Reading { left, reset: Reset::After(SECOND * 7) };
        assert_eq!(Window::default().read(reading(0), at(0)), Some(at(7000)));
        assert_eq!(Window::default().read(reading(1), at(0)), None);
    }
}
