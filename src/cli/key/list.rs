//! `doorward key list`: the keys of the configuration, and which of them are good.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use super::super::{ConfigFiles, Exit, print_chain};
use crate::access::tombstones::{self, TombstoneError};
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::settings::Settings;

/// List the keys of the configuration: whose each is, when it ends, whether it is good
#[derive(Clone, Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFiles,
    /// Print the list as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// How a key of the configuration stands.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Standing {
    pub(in crate::cli) client: String,
    digest: String,
    /// The digest, as short as reports show it.
    #[serde(skip)]
    pub(in crate::cli) beginning: String,
    expires: Option<String>,
    pub(in crate::cli) revoked_at: Option<String>,
    state: &'static str,
}

#[derive(Serialize)]
struct Listed {
    keys: Vec<Standing>,
}

/// How each key of the configuration stands at `now`.
///
/// # Errors
/// When nobody knows which are revoked.
pub(in crate::cli) fn standing(
    settings: &Settings,
    now: SystemTime,
) -> Result<Vec<Standing>, TombstoneError> {
    let file = settings.revoked_file();
    let mut revoked = file.map(|file| tombstones::read(&file)).transpose()?.unwrap_or_default();
    if let Some(damage) = revoked.damage.take() {
        return Err(damage);
    }
    let every = settings.clients.iter();
    let every = every.flat_map(|client| client.keys.iter().map(move |key| (client, key)));
    let standing = every.map(|(client, key)| {
        let tombstone = revoked.all.iter().find(|tombstone| tombstone.digest == key.digest);
        let state = match (tombstone, key.expires) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            (None, _) => "good",
        };
        Standing {
            client: client.id.to_string(),
            digest: key.digest.to_string(),
            beginning: key.digest.beginning(),
            expires: key.expires.map(time),
            revoked_at: tombstone.map(|tombstone| time(tombstone.at)),
            state,
        }
    });
    Ok(standing.collect())
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

impl List {
    pub(super) fn run(
        &self,
        environment: Environment,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let Some(loaded) = self.config.load(environment, paint, errors)? else {
            return Ok(Exit::Config);
        };
        let keys = match standing(&loaded.settings, SystemTime::now()) {
            Ok(keys) => keys,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Config);
            }
        };
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&Listed { keys })?)?;
            return Ok(Exit::Ok);
        }
        let width = keys.iter().map(|key| key.client.len()).max().unwrap_or(0);
        for Standing { client, beginning, expires, revoked_at, state, .. } in &keys {
            write!(out, "{client:<width$}  {beginning}  {state}")?;
            match (revoked_at, expires) {
                (Some(at), _) => writeln!(out, " since {at}")?,
                (None, Some(end)) if *state == "good" => writeln!(out, " until {end}")?,
                (None, Some(end)) => writeln!(out, " since {end}")?,
                (None, None) => writeln!(out)?,
            }
        }
        Ok(Exit::Ok)
    }
}
