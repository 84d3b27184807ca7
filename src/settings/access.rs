//! What holds for the clients of all listeners: where keys are looked for, which are revoked, and the
//! tokens that local logins give.

use std::path::{Path, PathBuf};

use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::meaning::{Meaning, under};
use super::{Field, Loaded, Settings, written};
use crate::access::{CLIENT_ACCOUNT, KEY_PLACES};
use crate::diagnosis::Faults;
use crate::secret::{SecretText, Source};

/// The file of revoked keys in the folder of the state.
const REVOKED_FILE: &str = "revoked_keys";

/// What holds for the clients of all listeners.
#[derive(Clone, Debug, Default)]
pub struct ClientAccess {
    /// Where the key is kept that signs the tokens of local logins, if one is given.
    pub token_key: Option<Source>,
    /// Further header fields in which keys are looked for.
    pub key_headers: Vec<HeaderName>,
    /// The file of revoked keys, where one is named.
    pub revoked_path: Option<PathBuf>,
}

/// What holds for all clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientAccess")]
pub(super) struct Written {
    /// Signs the tokens that clients get who log in at an upstream's login endpoint with their key:
    /// at least 32 bytes of random text, kept like any secret. All instances with the same one accept
    /// each other's tokens; another one ends all tokens. Without it the key is made from `state.key`,
    /// and without that one too from nothing: then tokens end when Doorward stops, and clients have
    /// to log in again. It is read at start and at a reload.
    #[schemars(extend("examples" = [{"file": "secrets/token_key"}]))]
    pub(super) token_key: Option<written::Field>,
    /// Header fields in which clients may put their keys, besides `Authorization`, `Doorward-Key`,
    /// `X-Api-Key` and the vendor's own. They are never sent on, whatever is in them.
    #[serde(default)]
    #[schemars(extend("examples" = [["X-Acme-Key"]]))]
    pub(super) key_headers: Vec<String>,
    /// The file that holds the revoked keys, which `doorward key revoke` appends to. Without it,
    /// `revoked_keys` in the folder of `[state]`; without that, too, no key can be revoked while
    /// Doorward runs.
    #[schemars(extend("examples" = ["/var/lib/doorward/revoked_keys"]))]
    pub(super) revoked_path: Option<String>,
}

/// Fields that mean something else on the way, or to the upstream.
const TAKEN: [HeaderName; 22] = [
    header::ACCEPT,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::FORWARDED,
    header::FROM,
    header::HOST,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::REFERER,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
    header::VIA,
    HeaderName::from_static("keep-alive"),
];

/// What such fields begin with.
const TAKEN_FAMILIES: [&str; 9] = [
    "accept-",
    "access-control-",
    "cdn-loop",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-request-id",
];

/// The shortest key for tokens, in bytes.
const TOKEN_KEY_BYTES_MIN: usize = 32;

const TOKEN_KEY: &str = "/access/token_key";
const KEY_HEADERS: &str = "/access/key_headers";

impl Meaning<'_> {
    pub(super) fn access(&mut self, written: Written) -> ClientAccess {
        let mut key_headers: Vec<HeaderName> = Vec::new();
        for (index, text) in written.key_headers.iter().enumerate() {
            match judge(text, &key_headers) {
                Ok(name) => key_headers.push(name),
                Err(why) => self.fault(&under(KEY_HEADERS, &index.to_string()), why),
            }
        }
        let revoked_path = written.revoked_path.as_deref();
        let revoked_path = revoked_path.map(|text| self.path("/access/revoked_path", text));
        let token_key = written.token_key.and_then(|field| self.token_key(field));
        ClientAccess { token_key, key_headers, revoked_path }
    }

    fn token_key(&mut self, written: written::Field) -> Option<Source> {
        match self.field(TOKEN_KEY, written) {
            Field::Secret(source) => Some(source),
            Field::Text(_) => {
                let message = "the key is a secret and must not stand in the configuration";
                let fault = self.layers.secret_fault(TOKEN_KEY, message);
                self.faults
                    .push(fault.help("write `token_key = { file = \"secrets/token_key\" }`"));
                None
            }
        }
    }
}

fn judge(text: &str, before: &[HeaderName]) -> Result<HeaderName, &'static str> {
    let name: HeaderName = text.parse().map_err(|_| "this is no name of a header field")?;
    let begins = |beginning: &&str| name.as_str().starts_with(beginning);
    if KEY_PLACES.contains(&name) {
        return Err("keys are looked for here in any case");
    }
    if name == CLIENT_ACCOUNT || TAKEN.contains(&name) || TAKEN_FAMILIES.iter().any(begins) {
        return Err("this header field has a meaning of its own and cannot be taken for keys");
    }
    if name.as_str().contains('_') {
        return Err("a header field with `_` in its name can be lost on the way");
    }
    if before.contains(&name) {
        return Err("this header field stands here twice");
    }
    Ok(name)
}

impl Settings {
    /// The file of revoked keys; nothing where there is no place for one.
    pub fn revoked_file(&self) -> Option<PathBuf> {
        let in_state = |folder: &Path| folder.join(REVOKED_FILE);
        let named = self.access.revoked_path.clone();
        named.or_else(|| self.state.as_ref().map(|state| in_state(&state.path)))
    }
}

impl Loaded {
    /// Reads the key that signs clients' tokens; nothing where none is given. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read_token_key(&self) -> Result<Option<SecretText>, Faults> {
        let Some(key) = &self.settings.access.token_key else { return Ok(None) };
        self.read_key(TOKEN_KEY, key, TOKEN_KEY_BYTES_MIN, "secrets/token_key").map(Some)
    }
}
