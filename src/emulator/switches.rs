//! Switches: points where public sources disagree or are silent, so that the emulator offers each
//! behaviour. A vendor's switches are one serde struct; its fields' docs are the list.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A switch that cannot be turned so.
#[derive(Debug, thiserror::Error)]
pub enum UnknownSwitch {
    /// No switch has this name.
    #[error("no switch is called {name:?}; there are {known}")]
    Name {
        /// What was asked for.
        name: String,
        /// The vendor's switches.
        known: String,
    },
    /// The switch does not take this value.
    #[error("switch {name:?} does not take this value")]
    Value {
        /// The switch.
        name: String,
        /// What it takes.
        #[source]
        source: serde_json::Error,
    },
}

/// The same switches with one of them turned.
pub fn turned<S>(switches: &S, name: &str, value: Value) -> Result<S, UnknownSwitch>
where
    S: Serialize + DeserializeOwned,
{
    let unreadable = |source| UnknownSwitch::Value { name: name.to_owned(), source };
    let mut all = serde_json::to_value(switches).map_err(unreadable)?;
    match all.get_mut(name) {
        Some(switch) => *switch = value,
        None => return Err(UnknownSwitch::Name { name: name.to_owned(), known: names(&all) }),
    }
    serde_json::from_value(all).map_err(unreadable)
}

fn names(all: &Value) -> String {
    let names = all.as_object().into_iter().flat_map(|switches| switches.keys());
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A status that a switch chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Status(StatusCode);

impl Status {
    /// 422.
    pub const UNPROCESSABLE: Status = Status(StatusCode::UNPROCESSABLE_ENTITY);
    /// 403.
    pub const FORBIDDEN: Status = Status(StatusCode::FORBIDDEN);
    /// 200.
    pub const OK: Status = Status(StatusCode::OK);

    /// The status itself.
    pub fn code(self) -> StatusCode {
        self.0
    }
}

impl TryFrom<u16> for Status {
    type Error = http::status::InvalidStatusCode;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        StatusCode::from_u16(status).map(Status)
    }
}

impl From<Status> for u16 {
    fn from(status: Status) -> u16 {
        status.0.as_u16()
    }
}
