//! The `Authentication` struct of a login call.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};

/// What a client logs in with. Members that the emulator does not know are ignored, as there are
/// older and newer clients.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Authentication {
    pub username: String,
    pub password: String,
    pub vault_guid: Option<String>,
    #[serde(deserialize_with = "moment")]
    pub expiration: Option<SystemTime>,
    pub read_only: bool,
    #[serde(rename = "URL")]
    pub url: Option<String>,
    pub method: Option<String>,
    #[serde(rename = "SessionID")]
    pub session_id: Option<String>,
}

/// An ISO date and time; without a zone it is UTC.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SystemTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let moment = text.parse::<Timestamp>().or_else(|_| {
        let civil: DateTime = text.parse()?;
        TimeZone::UTC.to_ambiguous_timestamp(civil).compatible()
    });
    moment.map(|moment| Some(moment.into())).map_err(serde::de::Error::custom)
}
