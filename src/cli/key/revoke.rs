//! `doorward key revoke`: keys that are good no more, from now on and for ever.

use std::io::{self, Read, Write};
use std::time::SystemTime;

use serde::Serialize;

use super::super::{ConfigFiles, Exit, print_chain};
use crate::access::key::{ClientId, ClientKey, Digest, DigestError};
use crate::access::tombstones::{self, Outcome};
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::settings::Settings;

/// No key is longer.
const KEY_BYTES_MAX: u64 = 4096;

/// Fewer hex digits of a digest could be another key's tomorrow.
const BEGINNING_CHARACTERS_MIN: usize = "sha256:".len() + 8;

/// Revoke keys for ever; a running gateway refuses them within a second
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    config: ConfigFiles,
    #[command(flatten)]
    which: Which,
    /// Print what was revoked as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The key's digest as the configuration has it, or its beginning as the log shows it
    // A text, so that a key put here by mistake is not printed.
    #[arg(value_name = "DIGEST")]
    digest: Option<String>,
    /// Read the key itself from standard input
    #[arg(long)]
    key_from_stdin: bool,
    /// All keys that the configuration has for this client
    #[arg(long, value_name = "NAME")]
    client: Option<ClientId>,
}

#[derive(Serialize)]
struct Told {
    keys: Vec<ToldKey>,
}

#[derive(Serialize)]
struct ToldKey {
    digest: String,
    client: Option<String>,
    outcome: &'static str,
}

impl Revoke {
    pub(super) fn run(
        &self,
        environment: Environment,
        paint: Paint,
        input: &mut impl Read,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let Some(loaded) = self.config.load(environment, paint, errors)? else {
            return Ok(Exit::Config);
        };
        let settings = &loaded.settings;
        let Some(file) = settings.revoked_file() else {
            writeln!(errors, "error: there is no place for revoked keys")?;
            writeln!(errors, "  help: set `revoked_path` in `[access]`, or keep a `[state]`")?;
            return Ok(Exit::Config);
        };
        let digests = match self.which.digests(settings, input)? {
            Ok(digests) => digests,
            Err((exit, why)) => {
                writeln!(errors, "error: {why}")?;
                return Ok(exit);
            }
        };
        let keys: Vec<_> =
            digests.into_iter().map(|digest| (digest, holder(settings, &digest))).collect();
        match tombstones::append(&file, &keys, SystemTime::now()) {
            Ok(outcomes) => {
                let told = keys.iter().zip(outcomes);
                self.tell(told.map(|((digest, client), outcome)| (digest, client, outcome)), out)
            }
            Err(error) => {
                print_chain(&error, errors);
                Ok(Exit::Config)
            }
        }
    }

    fn tell<'k>(
        &self,
        keys: impl Iterator<Item = (&'k Digest, &'k Option<ClientId>, Outcome)>,
        out: &mut impl Write,
    ) -> io::Result<Exit> {
        if self.json {
            let keys = keys.map(|(digest, client, outcome)| ToldKey {
                digest: digest.to_string(),
                client: client.as_ref().map(ClientId::to_string),
                outcome: match outcome {
                    Outcome::Revoked => "revoked",
                    Outcome::AlreadyRevoked => "already_revoked",
                },
            });
            writeln!(out, "{}", serde_json::to_string(&Told { keys: keys.collect() })?)?;
            return Ok(Exit::Ok);
        }
        for (digest, client, outcome) in keys {
            let what = match outcome {
                Outcome::Revoked => "revoked",
                Outcome::AlreadyRevoked => "was revoked already:",
            };
            match client {
                Some(client) => writeln!(out, "{what} {digest} of client {client}")?,
                None => writeln!(out, "{what} {digest}, which no client of the configuration has")?,
            }
        }
        Ok(Exit::Ok)
    }
}

/// Why no key is meant, and how the command ends then.
type Wrong = (Exit, String);

impl Which {
    fn digests(
        &self,
        settings: &Settings,
        input: &mut impl Read,
    ) -> io::Result<Result<Vec<Digest>, Wrong>> {
        if let Some(name) = &self.client {
            return Ok(of_client(settings, name));
        }
        if let Some(text) = &self.digest {
            return Ok(by_digest(settings, text).map(|digest| vec![digest]));
        }
        let mut text = String::new();
        input.take(KEY_BYTES_MAX).read_to_string(&mut text)?;
        let key = ClientKey::parse(text.trim());
        let wrong = |error| (Exit::Usage, format!("standard input holds {error}"));
        Ok(key.map(|key| vec![key.digest()]).map_err(wrong))
    }
}

fn of_client(settings: &Settings, name: &ClientId) -> Result<Vec<Digest>, Wrong> {
    let client = settings.clients.iter().find(|client| client.id == *name);
    let client = client
        .ok_or_else(|| (Exit::Config, format!("the configuration has no client `{name}`")))?;
    match client.keys.is_empty() {
        true => Err((Exit::Config, format!("client `{name}` has no keys"))),
        false => Ok(client.keys.iter().map(|key| key.digest).collect()),
    }
}

fn by_digest(settings: &Settings, text: &str) -> Result<Digest, Wrong> {
    match text.parse::<Digest>() {
        Ok(digest) => return Ok(digest),
        Err(DigestError::Key) => {
            let why = "this is a client key itself, and the command line is no place for it: pass \
                       it by --key-from-stdin";
            return Err((Exit::Usage, why.to_owned()));
        }
        Err(DigestError::Malformed) if text.len() < BEGINNING_CHARACTERS_MIN => {
            return Err((Exit::Usage, DigestError::Malformed.to_string()));
        }
        Err(DigestError::Malformed) => {}
    }
    let keys = settings.clients.iter().flat_map(|client| &client.keys);
    let mut found = keys.filter(|key| key.digest.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.digest),
        (Some(_), Some(_)) => {
            Err((Exit::Usage, "more than one digest begins like this".to_owned()))
        }
        (None, _) => {
            let why = "no digest of the configuration begins like this, and a whole one is \
                       `sha256:` and 64 hex digits";
            Err((Exit::Usage, why.to_owned()))
        }
    }
}

/// The client of the configuration whose key this is.
fn holder(settings: &Settings, digest: &Digest) -> Option<ClientId> {
    let has = |keys: &[crate::access::key::KnownKey]| keys.iter().any(|key| key.digest == *digest);
    settings.clients.iter().find(|client| has(&client.keys)).map(|client| client.id.clone())
}
