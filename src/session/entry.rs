//! One record of the ledger: how far a login or its session has come, and what it takes to use it
//! on or to close it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::snapshot::{milliseconds, read, shown};
use super::{Account, ClientNumber, Scope, Upstream};
use crate::login::{Jar, Material};
use crate::recipe::Recipe;
use crate::recipe::template::Values;
use crate::secret::{Fingerprint, SecretText};
use crate::state::{Content, RecordKey};
use crate::upstream::Way;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// A login is about to be sent, or is under way. Found at a start, its answer was lost: what its
    /// first steps may have given is not used before its last one has proved the secret.
    #[serde(alias = "partial")]
    Begun,
    /// It is open.
    Open,
    /// It is open, and its refresh is about to be sent. Found at a start, that answer was lost.
    Refreshing,
    /// It is open, and its refresh was sent and gave nothing: it is never refreshed again.
    Spent,
    /// Its logout is about to be sent: it is not used any more.
    Closing,
    /// Its login was sent and did not end: it may be open, and nobody can close it.
    AnswerLost,
}

/// One record of the ledger.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) stage: Stage,
    pub(super) upstream: String,
    /// Where the upstream was: what it gave is sent nowhere else.
    pub(super) origin: String,
    /// What else the session depends on: the recipe with its parameters.
    pub(super) recipe: String,
    pub(super) account: String,
    pub(super) login_name: String,
    fingerprint: String,
    scope: String,
    /// When the login began, in milliseconds since 1970.
    pub(super) begun: u64,
    /// Since when nobody uses it, in the same unit; nothing as long as somebody may.
    #[serde(default)]
    unused_since: Option<u64>,
    expires: Option<u64>,
    longest: Option<u64>,
    /// What was taken. The account's own fields are never written.
    values: Vec<(String, String)>,
    cookies: Vec<(String, String, String)>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.values.iter_mut().for_each(|(_, value)| value.zeroize());
        self.cookies.iter_mut().for_each(|(_, value, _)| value.zeroize());
    }
}

impl Entry {
    /// A record that was read; nothing when it cannot be understood.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    pub(super) fn written(&self) -> Content {
        // Strings and numbers can always be written. Room from the start: a vector that grows
        // leaves copies behind.
        let length = self.values.iter().map(|(_, value)| value.len() * 2).sum::<usize>()
            + self.cookies.iter().map(|(_, value, _)| value.len() * 2).sum::<usize>();
        let mut content = Zeroizing::new(Vec::with_capacity(length + 4096));
        _ = serde_json::to_writer(&mut *content, self);
        content
    }

    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        read(&self.fingerprint)
    }

    pub(super) fn scope(&self) -> Option<Scope> {
        scope_named(&self.scope)
    }

    /// Whether both have the same token and cookies.
    pub(super) fn is_same_session(&self, other: &Self) -> bool {
        self.values == other.values && self.cookies == other.cookies
    }

    /// Whether its known end has come.
    pub(super) fn has_ended(&self, wall: SystemTime) -> bool {
        self.expires.is_some_and(|end| time(end) <= wall)
    }

    /// For how long nobody has used it; nothing as long as somebody may.
    pub(super) fn unused_for(&self, wall: SystemTime) -> Option<Duration> {
        let since = match self.stage {
            Stage::Open | Stage::Refreshing | Stage::Spent => self.unused_since?,
            Stage::Begun | Stage::Closing | Stage::AnswerLost => {
                self.unused_since.unwrap_or(self.begun)
            }
        };
        Some(wall.duration_since(time(since)).unwrap_or_default())
    }

    /// Nobody uses it from now on.
    pub(super) fn is_left(&mut self, wall: SystemTime) {
        self.unused_since = Some(milliseconds(wall));
    }

    /// The same, of a login whose answer was lost.
    pub(super) fn is_lost(&self) -> Self {
        let mut lost = self.clone();
        lost.stage = Stage::AnswerLost;
        lost.unused_since = Some(self.begun);
        lost
    }

    /// The record of what it is about.
    pub(super) fn record(&self, key: RecordKey) -> Record {
        let unused_since = match self.stage {
            Stage::Closing | Stage::AnswerLost => self.unused_since.or(Some(self.begun)),
            _ => None,
        };
        Record { key, begun: time(self.begun), unused_since: unused_since.map(time) }
    }

    /// Whether its refresh was sent: what that uses may be used up.
    pub(super) fn was_refresh_sent(&self) -> bool {
        matches!(self.stage, Stage::Refreshing | Stage::Spent)
    }

    /// What the session consists of, with the account's own fields as they are now.
    pub(super) fn material(&self, account: &Values, base_path: &str) -> Material {
        let mut values = account.clone();
        for (name, value) in &self.values {
            values.set(name.clone(), SecretText::from(value.clone()));
        }
        let cookies = self.cookies.iter().cloned();
        Material {
            values,
            cookies: Jar::kept(base_path, cookies),
            expires: self.expires.map(time),
            longest: self.longest.map(time),
        }
    }
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// A client's number is good for one run only: whose session it was is not written, and nobody gets
/// it again.
const NOBODY: Scope = Scope::Client(ClientNumber(u32::MAX));

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Shared => "shared",
        Scope::Client(_) => "client",
    }
}

fn scope_named(name: &str) -> Option<Scope> {
    [Scope::Shared, NOBODY].into_iter().find(|scope| scope_name(*scope) == name)
}

/// Tells one set of rules from another. An upgrade of Doorward may change it; then sessions are
/// logged out instead of used.
pub fn recipe_print(recipe: &Recipe) -> Fingerprint {
    Fingerprint::of([&SecretText::from(format!("{recipe:?}"))])
}

/// Where an upstream is.
pub(super) fn origin_of(upstream: &Upstream) -> String {
    let origin = &upstream.origin;
    let (scheme, host) = (origin.scheme(), &origin.host);
    let mut place = format!("{scheme}://{host}:{}{}", origin.port, origin.base_path);
    // Either makes another server of the same URL.
    if origin.authority != origin.url_authority {
        place.push_str(&format!(" as {}", String::from_utf8_lossy(origin.authority.as_bytes())));
    }
    if let Way::Unix(path) = &origin.way {
        place.push_str(&format!(" at {}", path.display()));
    }
    place
}

/// Whose a record is.
pub(super) struct Owner<'o> {
    pub(super) upstream: &'o Upstream,
    pub(super) account: &'o Account,
    pub(super) fingerprint: Fingerprint,
    pub(super) scope: Scope,
}

impl Owner<'_> {
    /// A record as it is written at this time.
    pub(super) fn entry(
        &self,
        record: Record,
        stage: Stage,
        material: Option<&Material>,
        wall: SystemTime,
    ) -> Content {
        let Self { upstream, account, .. } = self;
        let fields = &upstream.recipe.fields;
        let values = material.iter().flat_map(|material| material.values.iter());
        let values = values.filter(|(name, _)| !fields.contains_key(*name));
        let cookies = material.iter().flat_map(|material| material.cookies.parts());
        let is_used = !matches!(stage, Stage::Closing | Stage::AnswerLost);
        let unused_since = (!is_used).then(|| record.unused_since.unwrap_or(wall));
        let entry = Entry {
            stage,
            upstream: upstream.name.to_string(),
            origin: origin_of(upstream),
            recipe: shown(upstream.recipe_print),
            account: account.name.to_string(),
            login_name: account.login_name.clone(),
            fingerprint: shown(self.fingerprint),
            scope: scope_name(self.scope).to_owned(),
            begun: milliseconds(record.begun),
            unused_since: unused_since.map(milliseconds),
            expires: material.and_then(|material| material.expires).map(milliseconds),
            longest: material.and_then(|material| material.longest).map(milliseconds),
            values: values
                .map(|(name, value)| (name.to_owned(), value.expose().to_owned()))
                .collect(),
            cookies: cookies
                .map(|(name, value, path)| {
                    (name.to_owned(), value.expose().to_owned(), path.to_owned())
                })
                .collect(),
        };
        entry.written()
    }
}

/// The record of one login and the session that it gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) key: RecordKey,
    pub(super) begun: SystemTime,
    /// Where an earlier run has left it: since when nobody uses it.
    unused_since: Option<SystemTime>,
}

impl Record {
    /// That of a login which begins now.
    pub(super) fn begin(wall: SystemTime) -> Self {
        Self { key: RecordKey::unique(), begun: wall, unused_since: None }
    }
}
