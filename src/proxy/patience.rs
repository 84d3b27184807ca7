//! How long a client is waited for that sends its body, or takes its answer, too slowly. What is
//! waited for is looked at by one task for each core, about once a second: no request sets a timer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// How often waits are looked at, where what may be waited is not shorter.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Of what may be waited, so many looks at least: a wait ends at most a quarter late.
const LOOKS: u32 = 4;

/// So many waits end at once, and the next ones so long after: a thousand clients that are too slow
/// together are answered, and nobody else waits for that.
const ENDS_MAX: usize = 64;
const ENDS_PAUSE: Duration = Duration::from_millis(10);

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub struct Slowness {
    /// How long nothing at all may move.
    pub pause_max: Duration,
    /// How many bytes must move in a second on average, beyond that; 0 for any number.
    pub bytes_per_second_min: u64,
}

/// The time that is left to wait for a client. Waiting takes from it; bytes give back, and never
/// more than the longest pause: what was fast before buys no long silence.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    slowness: Slowness,
    left: Duration,
    /// How much longer was waited than there was left, beyond what bytes have made up for since.
    overdrawn: Duration,
}

impl Patience {
    /// As much as there may be.
    pub fn new(slowness: Slowness) -> Self {
        Self { slowness, left: slowness.pause_max, overdrawn: Duration::ZERO }
    }

    /// So long was waited.
    pub fn waited(&mut self, time: Duration) {
        self.overdrawn += time.saturating_sub(self.left);
        self.left = self.left.saturating_sub(time);
    }

    /// So many bytes have moved.
    pub fn moved(&mut self, bytes: u64) {
        let Slowness { pause_max, bytes_per_second_min } = self.slowness;
        if bytes == 0 || self.left >= pause_max {
            return;
        }
        let millis = bytes.saturating_mul(1000).checked_div(bytes_per_second_min);
        let earned = millis.map_or(pause_max, Duration::from_millis);
        self.left = self.left.saturating_add(earned).min(pause_max);
        // Who has all of it again owes nothing.
        self.overdrawn = match self.left < pause_max {
            true => self.overdrawn.saturating_sub(earned),
            false => Duration::ZERO,
        };
    }

    /// Whether nothing was left for longer than it takes us to look: bytes that come one by one are
    /// not late because we are.
    fn is_overdrawn(&self) -> bool {
        self.overdrawn > look_every(self.slowness.pause_max)
    }

    /// How long may still be waited.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }
}

/// How often is looked who is too slow, where nothing may move for so long.
fn look_every(pause_max: Duration) -> Duration {
    LOOK_MAX.min(pause_max / LOOKS)
}

/// Everybody who is waited for on one core.
#[derive(Debug)]
pub struct Watch {
    /// What may be taken for a request's body, and for an answer.
    slowness: Mutex<[Slowness; 2]>,
    wards: Mutex<Wards>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Wards {
    places: Vec<Option<Arc<Mutex<Wait>>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Wait {
    patience: Patience,
    /// Since when the client is waited for.
    since: Option<Instant>,
    is_over: bool,
    on_end: Option<OnEnd>,
}

/// What happens when patience ends.
#[derive(Debug)]
enum OnEnd {
    /// Whoever waits is woken, and sees it.
    Wake(Waker),
    /// The task that waits is ended.
    Abort(AbortHandle),
}

/// Somebody who is watched for as long as this lives.
#[derive(Debug)]
pub struct Ward {
    watch: Arc<Watch>,
    place: usize,
    wait: Arc<Mutex<Wait>>,
}

impl Watch {
    /// With what request bodies and answers may take.
    pub fn new(body: Slowness, answer: Slowness) -> Self {
        let slowness = Mutex::new([body, answer]);
        Self { slowness, wards: Mutex::default(), begun: Notify::new() }
    }

    /// With what they may take from now on; who is watched already is watched as before.
    pub fn set(&self, body: Slowness, answer: Slowness) {
        *lock(&self.slowness) = [body, answer];
    }

    /// Watches a client that sends a request's body.
    pub fn body(self: &Arc<Self>) -> Ward {
        let [body, _] = *lock(&self.slowness);
        self.ward(body)
    }

    /// Watches a client that takes an answer.
    pub fn answer(self: &Arc<Self>) -> Ward {
        let [_, answer] = *lock(&self.slowness);
        self.ward(answer)
    }

    fn ward(self: &Arc<Self>, slowness: Slowness) -> Ward {
        let patience = Patience::new(slowness);
        let wait = Wait { patience, since: None, is_over: false, on_end: None };
        let wait = Arc::new(Mutex::new(wait));
        let mut wards = lock(&self.wards);
        let entry = Some(Arc::clone(&wait));
        let place = match wards.free.pop() {
            Some(place) => {
                if let Some(free) = wards.places.get_mut(place) {
                    *free = entry;
                }
                place
            }
            None => {
                wards.places.push(entry);
                wards.places.len() - 1
            }
        };
        let is_first = wards.free.len() + 1 == wards.places.len();
        drop(wards);
        if is_first {
            self.begun.notify_one();
        }
        Ward { watch: Arc::clone(self), place, wait }
    }

    /// Looks after everybody until it is dropped.
    pub async fn look(self: Arc<Self>) {
        loop {
            let begun = self.begun.notified();
            if !self.is_empty() {
                drop(begun);
                let [body, answer] = *lock(&self.slowness);
                sleep(look_every(body.pause_max.min(answer.pause_max))).await;
                while self.end_waits(Instant::now()) == ENDS_MAX {
                    sleep(ENDS_PAUSE).await;
                }
            } else {
                begun.await;
            }
        }
    }

    fn is_empty(&self) -> bool {
        let wards = lock(&self.wards);
        wards.free.len() == wards.places.len()
    }

    /// Ends waits that are over, and says how many.
    fn end_waits(&self, now: Instant) -> usize {
        let mut ends = Vec::new();
        for wait in lock(&self.wards).places.iter().flatten() {
            if ends.len() == ENDS_MAX {
                break;
            }
            let mut wait = lock(wait);
            let waited = wait.since.map(|since| now.saturating_duration_since(since));
            if !wait.is_over && waited.is_some_and(|waited| waited >= wait.patience.left()) {
                wait.is_over = true;
                ends.extend(wait.on_end.take());
            }
        }
        let ended = ends.len();
        for end in ends {
            match end {
                OnEnd::Wake(waker) => waker.wake(),
                OnEnd::Abort(task) => task.abort(),
            }
        }
        ended
    }
}

impl Ward {
    /// The client has to go on. Ready when it has not for too long; then whoever waits is woken.
    pub fn poll_wait(&self, context: &Context<'_>) -> Poll<()> {
        let mut wait = lock(&self.wait);
        if wait.is_over {
            return Poll::Ready(());
        }
        wait.since.get_or_insert_with(Instant::now);
        match &mut wait.on_end {
            Some(OnEnd::Wake(waker)) => waker.clone_from(context.waker()),
            on_end => *on_end = Some(OnEnd::Wake(context.waker().clone())),
        }
        Poll::Pending
    }

    /// The client has gone on by so many bytes.
    pub fn went_on(&self, bytes: u64) {
        let mut wait = lock(&self.wait);
        if let Some(since) = wait.since {
            wait.patience.waited(since.elapsed());
        }
        // The bytes may have been there before anybody looked: they count, for what they are. A client
        // whose bytes come just before each look would else never be found to be too slow.
        wait.since = None;
        wait.patience.moved(bytes);
        wait.is_over = wait.patience.is_overdrawn();
    }

    /// The client has to take something from now on.
    pub fn wait(&self) {
        lock(&self.wait).since = Some(Instant::now());
    }

    /// Has a task ended when the client is too slow.
    pub fn end_task(&self, task: AbortHandle) {
        lock(&self.wait).on_end = Some(OnEnd::Abort(task));
    }

    /// Whether patience has ended.
    pub fn is_over(&self) -> bool {
        lock(&self.wait).is_over
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let mut wards = lock(&self.watch.wards);
        if let Some(place) = wards.places.get_mut(self.place) {
            *place = None;
            wards.free.push(self.place);
        }
    }
}

/// Nothing panics while one of these locks is held; a poisoned value is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::advance;

    use super::*;

    const SLOWNESS: Slowness =
        Slowness { pause_max: Duration::from_secs(30), bytes_per_second_min: 240 };

    fn watch() -> Arc<Watch> {
        let watch = Arc::new(Watch::new(SLOWNESS, SLOWNESS));
        tokio::spawn(Arc::clone(&watch).look());
        watch
    }

    async fn over(ward: &Ward) -> Duration {
        let before = Instant::now();
        poll_fn(|context| ward.poll_wait(context)).await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_is_waited_for_as_long_as_the_longest_pause() {
        let watch = watch();
        let ward = watch.body();
        // However much has come before.
        ward.went_on(1 << 40);
        let waited = over(&ward).await;
        assert!(waited >= SLOWNESS.pause_max && waited <= Duration::from_secs(32), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_is_waited_for_until_its_average_is_too_low() {
        let watch = watch();
        let ward = watch.body();
        let begun = Instant::now();
        // 120 bytes a second: each second costs half a second of patience.
        while !ward.is_over() {
            assert!(poll_fn(|context| Poll::Ready(ward.poll_wait(context))).await.is_pending());
            advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
            if !ward.is_over() {
                ward.went_on(120);
            }
        }
        let lasted = begun.elapsed();
        assert!(
            lasted >= Duration::from_secs(55) && lasted < Duration::from_secs(66),
            "{lasted:?}"
        );
    }

    /// Fails when a client pays for a time in which it was not looked at, such as one of a stopped
    /// process, though all of what it sends is enough.
    #[tokio::test(start_paused = true)]
    async fn where_any_rate_will_do_a_byte_makes_up_for_all_that_was_waited() {
        let slowness = Slowness { bytes_per_second_min: 0, ..SLOWNESS };
        let watch = Arc::new(Watch::new(slowness, slowness));
        let ward = watch.body();
        assert!(poll_fn(|context| Poll::Ready(ward.poll_wait(context))).await.is_pending());
        advance(10 * SLOWNESS.pause_max).await;
        for _ in 0..2 {
            ward.went_on(1);
            assert!(!ward.is_over());
            assert!(poll_fn(|context| Poll::Ready(ward.poll_wait(context))).await.is_pending());
        }
    }

    /// Fails when a client lasts whose bytes come just before each look.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_in_step_with_the_looks_is_too_slow_all_the_same() {
        let watch = Arc::new(Watch::new(SLOWNESS, SLOWNESS));
        let ward = watch.body();
        let begun = Instant::now();
        while poll_fn(|context| Poll::Ready(ward.poll_wait(context))).await.is_pending() {
            advance(LOOK_MAX).await;
            // A byte is worth 4 milliseconds.
            ward.went_on(1);
            _ = poll_fn(|context| Poll::Ready(ward.poll_wait(context))).await;
            advance(Duration::from_millis(1)).await;
            assert_eq!(watch.end_waits(Instant::now()), 0, "a look that finds nobody");
            assert!(begun.elapsed() < Duration::from_secs(33), "nobody finds it out");
        }
        assert!(begun.elapsed() >= SLOWNESS.pause_max, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_at_the_least_rate_is_waited_for_without_end() {
        let watch = watch();
        let ward = watch.body();
        for _ in 0..3600 {
            assert!(poll_fn(|context| Poll::Ready(ward.poll_wait(context))).await.is_pending());
            advance(Duration::from_secs(1)).await;
            ward.went_on(240);
        }
        assert!(!ward.is_over());
    }

    /// Fails when bytes count for nothing that came while nobody looked, or when a single one that
    /// comes at the very end buys another whole pause.
    #[tokio::test(start_paused = true)]
    async fn bytes_that_nobody_took_count_for_the_client_and_for_no_more_than_they_are() {
        let watch = watch();
        let ward = watch.body();
        over(&ward).await;
        ward.went_on(5 * SLOWNESS.bytes_per_second_min);
        let waited = over(&ward).await;
        assert!(waited >= Duration::from_secs(5) && waited <= Duration::from_secs(7), "{waited:?}");
        ward.went_on(1);
        let waited = over(&ward).await;
        assert!(waited <= Duration::from_secs(2), "{waited:?}");
        ward.went_on(1 << 40);
        let waited = over(&ward).await;
        assert!(waited >= SLOWNESS.pause_max, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_ends_whose_client_takes_nothing_and_no_other() {
        let watch = watch();
        let (slow, other) = (watch.answer(), watch.answer());
        let task = tokio::spawn(std::future::pending::<()>());
        let running = tokio::spawn(std::future::pending::<()>());
        slow.wait();
        slow.end_task(task.abort_handle());
        other.end_task(running.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(slow.is_over() && !other.is_over() && !running.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn many_waits_end_a_few_at_a_time_and_all_of_them() {
        let watch = watch();
        let wards: Vec<_> = (0..10 * ENDS_MAX).map(|_| watch.body()).collect();
        poll_fn(|context| {
            wards.iter().for_each(|ward| assert!(ward.poll_wait(context).is_pending()));
            Poll::Ready(())
        })
        .await;
        over(wards.first().unwrap()).await;
        let ended = || wards.iter().filter(|ward| ward.is_over()).count();
        assert_eq!(ended(), ENDS_MAX);
        sleep(ENDS_PAUSE * 12).await;
        assert_eq!(ended(), wards.len());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_looked_after_when_nobody_is_waited_for() {
        let watch = watch();
        drop((watch.body(), watch.answer()));
        let third = watch.body();
        assert_eq!(lock(&watch.wards).places.len(), 2, "places are used again");
        drop(third);
        assert!(watch.is_empty());
    }
}
