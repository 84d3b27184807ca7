//! Places that logins tell of, where their sessions' requests go: each is made once, whoever asks, so that
//! all cores know how its addresses fare.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;

use super::Upstream;
use crate::login;
use crate::recipe::Site;
use crate::recipe::template::Values;
use crate::upstream::{Origin, Pool};

/// Places that are remembered for an upstream; beyond it the oldest are forgotten, and made anew.
const PLACES_MAX: usize = 64;

/// A place that a session's requests go to in the place of the upstream's own.
#[derive(Debug)]
pub struct Place {
    /// Where it is.
    pub origin: Arc<Origin>,
    /// The connections of the control side.
    pub(super) pool: Pool<Full<Bytes>>,
}

/// Makes a place of a site; nothing where that cannot be.
type Make = dyn Fn(&Site) -> Option<Origin> + Send + Sync;

/// The places of one upstream.
pub struct Places {
    make: Box<Make>,
    known: Mutex<Vec<(Site, Arc<Place>)>>,
}

impl Places {
    /// None yet.
    pub fn new(make: impl Fn(&Site) -> Option<Origin> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), known: Mutex::default() }
    }

    fn of(&self, site: &Site) -> Option<Arc<Place>> {
        let mut known = self.lock();
        if let Some((_, place)) = known.iter().find(|(known, _)| known == site) {
            return Some(Arc::clone(place));
        }
        let origin = Arc::new((self.make)(site)?);
        let place = Arc::new(Place { pool: Pool::new(Arc::clone(&origin)), origin });
        if known.len() >= PLACES_MAX {
            known.remove(0);
        }
        known.push((site.clone(), Arc::clone(&place)));
        Some(place)
    }

    /// Nothing panics under the lock: a poisoned list is whole.
    fn lock(&self) -> MutexGuard<'_, Vec<(Site, Arc<Place>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.lock().iter().map(|(site, _)| site)).finish()
    }
}

/// What a session tells of no place that its requests may go to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nowhere;

impl Upstream {
    /// Where requests of a session with these values go, if that is not the upstream's own place.
    pub(super) fn place(&self, values: &Values) -> Result<Option<Arc<Place>>, Nowhere> {
        match login::base(&self.recipe, values).map_err(|_| Nowhere)? {
            None => Ok(None),
            Some(site) => self.places.of(&site).map(Some).ok_or(Nowhere),
        }
    }
}
