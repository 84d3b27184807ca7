//! Time, injected: one [`Clock`] is handed to every room, so that a test moves it by hand and an
//! emulator makes hours pass in milliseconds.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// A monotonic and a wall clock that belong together. Clones share one time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

/// So far back before its start a clock has moments: what began in an earlier run has one, too.
const REACH_BACK: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A point on a clock's monotonic line: nanoseconds from ten years before the clock's start, for 584
/// years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

#[derive(Debug)]
struct Source {
    started: Instant,
    wall_started: SystemTime,
    pace: Pace,
    /// What [`Clock::advance`] has added so far, in nanoseconds: read many times for each request.
    moved: AtomicU64,
    /// Sleepers watch it.
    advanced: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug)]
enum Pace {
    /// The machine's own time; the wall clock is the machine's and may jump.
    Real,
    /// So many times faster than the machine's; 0 stands still until moved by hand.
    Times(u32),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(SystemTime::now(), Pace::Real)
    }

    /// A clock that moves only by [`Clock::advance`]. Its wall starts at `wall`.
    pub fn manual(wall: SystemTime) -> Self {
        Self::new(wall, Pace::Times(0))
    }

    /// A clock that runs `times` faster than the machine's, from the machine's wall time on.
    pub fn scaled(times: u32) -> Self {
        Self::new(SystemTime::now(), Pace::Times(times))
    }

    fn new(wall_started: SystemTime, pace: Pace) -> Self {
        let (advanced, _) = watch::channel(());
        let (started, moved) = (Instant::now(), AtomicU64::new(0));
        Self(Arc::new(Source { started, wall_started, pace, moved, advanced }))
    }

    /// The monotonic time now.
    pub fn now(&self) -> Moment {
        match self.0.pace {
            Pace::Times(0) => self.moment(Duration::ZERO),
            Pace::Real | Pace::Times(_) => self.moment(self.0.started.elapsed()),
        }
    }

    /// What this clock shows so long after its start by the machine's own time.
    fn moment(&self, since_start: Duration) -> Moment {
        let run = match self.0.pace {
            Pace::Times(0) => 0,
            Pace::Real => nanoseconds(since_start),
            Pace::Times(times) => nanoseconds(since_start.saturating_mul(times)),
        };
        let moved = self.0.moved.load(Ordering::Relaxed);
        Moment(nanoseconds(REACH_BACK).saturating_add(run).saturating_add(moved))
    }

    /// The monotonic time now, and by the machine's own time how long ago this clock was started: that
    /// goes on while a clock that is moved by hand stands still. One reading of the machine's clock.
    pub fn now_and_since_start(&self) -> (Moment, Duration) {
        let since_start = self.0.started.elapsed();
        (self.moment(since_start), since_start)
    }

    /// The wall time now. On the machine's clock it may jump in either direction.
    pub fn wall(&self) -> SystemTime {
        match self.0.pace {
            Pace::Real => SystemTime::now() + self.moved(),
            Pace::Times(_) => self.0.wall_started + (self.now().since_first() - REACH_BACK),
        }
    }

    fn moved(&self) -> Duration {
        Duration::from_nanos(self.0.moved.load(Ordering::Relaxed))
    }

    /// Moves this clock forward and wakes whoever slept past the new time.
    pub fn advance(&self, by: Duration) {
        let by = nanoseconds(by);
        // Whoever has not seen this is told of it afterwards.
        self.0.advanced.send_modify(|()| _ = self.0.moved.fetch_add(by, Ordering::Relaxed));
    }

    /// Waits until this clock shows `moment`. Cancel safe.
    pub async fn sleep_until(&self, moment: Moment) {
        let mut advanced = self.0.advanced.subscribe();
        loop {
            advanced.mark_unchanged();
            let left = moment.saturating_since(self.now());
            if left.is_zero() {
                return;
            }
            // The sender lives in `self`, so `changed` cannot fail while we wait.
            match self.0.pace {
                Pace::Times(0) => _ = advanced.changed().await,
                Pace::Times(times) => wait(&mut advanced, left / times).await,
                Pace::Real => wait(&mut advanced, left).await,
            }
        }
    }

    /// Waits for `duration` on this clock. Cancel safe.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}

async fn wait(advanced: &mut watch::Receiver<()>, machine_time: Duration) {
    // A scaled remainder can round to nothing; one tick keeps the loop from spinning.
    let machine_time = machine_time.max(Duration::from_micros(100));
    tokio::select! {
        () = tokio::time::sleep(machine_time) => {}
        _ = advanced.changed() => {}
    }
}

/// A duration in nanoseconds; 584 years at most.
const fn nanoseconds(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos() as u64)
}

impl Moment {
    /// The time from `earlier` to here, or nothing if `earlier` is later.
    pub fn saturating_since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time since the first moment that there is.
    pub fn since_first(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The same in whole milliseconds.
    pub fn milliseconds(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// Not before the first moment that there is.
    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(nanoseconds(duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_is_moved_past_its_moment() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(3600)).await;
                clock.wall()
            }
        });
        clock.advance(Duration::from_secs(1800));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(5400));
        assert!(sleeper.await.unwrap() >= SystemTime::UNIX_EPOCH + Duration::from_secs(7200));
    }

    #[tokio::test]
    async fn hours_pass_in_milliseconds_on_a_scaled_clock() {
        let clock = Clock::scaled(10_000_000);
        clock.sleep(Duration::from_secs(3600)).await;
        assert!(clock.now() >= Moment::default() + Duration::from_secs(3600));
    }

    /// Fails when what is ordered by the machine's own time stands still with a clock that does.
    #[test]
    fn the_time_since_the_start_goes_on_while_a_clock_stands_still() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let (moment, since_start) = clock.now_and_since_start();
        loop {
            let (still, later) = clock.now_and_since_start();
            assert_eq!(still, moment);
            if later > since_start {
                break;
            }
        }
        clock.advance(Duration::from_secs(3600));
        let (moved, _) = clock.now_and_since_start();
        assert_eq!(moved, moment + Duration::from_secs(3600));
    }
}
