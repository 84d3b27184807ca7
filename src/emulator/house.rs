//! What the frame and a vendor's site share: the clock, the mint, the books.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Vendor;
use super::counters::Tally;
use super::force::ForcedAnswers;
use super::hold::Holds;
use super::mint::Mint;
use super::record::Records;
use crate::clock::Clock;

/// The common rooms of one emulator.
pub struct House {
    pub vendor: Vendor,
    pub clock: Clock,
    pub mint: Mint,
    pub tally: Tally,
    pub records: Records,
    pub forced: ForcedAnswers,
    pub holds: Holds,
    pub maintenance: AtomicBool,
}

impl House {
    pub fn new(vendor: Vendor, address: SocketAddr, clock: Clock) -> Self {
        Self {
            vendor,
            clock,
            mint: Mint::new(vendor, address.port()),
            tally: Tally::default(),
            records: Records::default(),
            forced: ForcedAnswers::default(),
            holds: Holds::default(),
            maintenance: AtomicBool::new(false),
        }
    }
}

impl fmt::Debug for House {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("House").field("vendor", &self.vendor).finish_non_exhaustive()
    }
}

/// Locks a book of the emulator. A handler that panicked half-way leaves a book that a test may
/// still want to read, so a poisoned lock is opened all the same.
pub fn lock<T>(book: &Mutex<T>) -> MutexGuard<'_, T> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
