//! How long a client may go on beginning requests and giving them up. On HTTP/2 that costs it nothing
//! and us much: each may have been sent on, and ends a connection to an upstream (CVE-2023-44487).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use tokio::sync::Notify;

/// So many requests may be given up before their answer in any case; then it depends on whether
/// these are most of all.
const GIVEN_UP_MAX: u32 = 100;

/// The patience with one connection.
#[derive(Debug, Default)]
pub(super) struct Patience {
    answered: AtomicU32,
    given_up: AtomicU32,
    exhausted: Notify,
}

/// A request that has no answer yet.
pub(super) struct Unanswered(Option<Arc<Patience>>);

impl Patience {
    /// A request begins. It was given up if the result is dropped as it is.
    pub(super) fn begin(self: &Arc<Self>) -> Unanswered {
        Unanswered(Some(Arc::clone(self)))
    }

    /// Waits until most requests of this connection were given up. Cancel safe.
    pub(super) async fn exhausted(&self) {
        self.exhausted.notified().await;
    }

    fn note_given_up(&self) {
        let given_up = self.given_up.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if given_up > GIVEN_UP_MAX && given_up > self.answered.load(Ordering::Relaxed) {
            self.exhausted.notify_one();
        }
    }
}

impl Unanswered {
    /// Its answer is there. A request that was none is as good as given up: so is one whose body broke
    /// off when it was reset.
    pub(super) fn answered(mut self, status: StatusCode) {
        if status == StatusCode::BAD_REQUEST {
            return;
        }
        if let Some(patience) = self.0.take() {
            patience.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(patience) = self.0.take() {
            patience.note_given_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_exhausted(patience: &Patience) -> bool {
        pin!(patience.exhausted()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_gives_most_requests_up_exhausts_it_and_nobody_else_does() {
        let patience = Arc::<Patience>::default();
        for _ in 0..GIVEN_UP_MAX {
            drop(patience.begin());
        }
        assert!(!is_exhausted(&patience), "so many may be");
        for _ in 0..GIVEN_UP_MAX + 1 {
            patience.begin().answered(StatusCode::OK);
        }
        patience.begin().answered(StatusCode::BAD_REQUEST);
        assert!(!is_exhausted(&patience), "as many were answered");
        drop(patience.begin());
        assert!(is_exhausted(&patience));
    }
}
