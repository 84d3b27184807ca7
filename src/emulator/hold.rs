//! Answers that a test keeps back: the request is judged and executed at arrival, its answer
//! waits until the test lets it go.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::house::lock;

/// So many holds may stand at once; each further one takes the oldest one's place, whose answers
/// go out.
const HOLDS_MAX: usize = 64;

/// A hold on the answers of matching requests. Dropping it lets them go.
#[derive(Debug)]
pub struct Hold(Arc<Standing>);

#[derive(Debug)]
struct Standing {
    matching: String,
    waiting: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

/// One answer's place in a hold.
#[derive(Debug)]
pub struct Place(Arc<Standing>);

/// The holds that stand now.
#[derive(Debug, Default)]
pub struct Holds(Mutex<Vec<Arc<Standing>>>);

impl Hold {
    /// Waits until `answers` are being kept back at one time. Cancel safe.
    pub async fn arrived(&self, answers: usize) {
        let mut waiting = self.0.waiting.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        _ = waiting.wait_for(|now| *now >= answers).await;
    }

    /// How many answers are being kept back.
    pub fn waiting(&self) -> usize {
        *self.0.waiting.borrow()
    }

    /// Lets every answer go; later requests are not held.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

impl Holds {
    pub fn add(&self, matching: &str) -> Hold {
        let standing = Arc::new(Standing {
            matching: matching.to_owned(),
            waiting: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        let mut holds = lock(&self.0);
        holds.retain(|hold| !*hold.released.borrow());
        if holds.len() >= HOLDS_MAX {
            holds.remove(0).released.send_replace(true);
        }
        holds.push(Arc::clone(&standing));
        Hold(standing)
    }

    /// The first hold that is for this request.
    pub fn matching(&self, line: &str) -> Option<Place> {
        let mut holds = lock(&self.0);
        holds.retain(|hold| !*hold.released.borrow());
        holds.iter().find(|hold| line.contains(&hold.matching)).map(|hold| Place(Arc::clone(hold)))
    }
}

impl Place {
    /// Keeps the answer back until the hold is released. A client that leaves gives its place up.
    pub async fn wait(self) {
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        let leaving = Leaving(&self.0);
        let mut released = self.0.released.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        _ = released.wait_for(|released| *released).await;
        drop(leaving);
    }
}

struct Leaving<'a>(&'a Standing);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}
