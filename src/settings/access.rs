//! What clients show who they are with, besides their keys: the tokens that local logins give them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::meaning::Meaning;
use super::{Field, Loaded, written};
use crate::diagnosis::Faults;
use crate::secret::{SecretText, Source};

/// What holds for all clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientsInGeneral")]
pub(super) struct Written {
    /// Signs the tokens that clients get who log in at an upstream's login endpoint with their key:
    /// at least 32 bytes of random text, kept like any secret. All instances with the same one accept
    /// each other's tokens; another one ends all tokens. Without it the key is made from `state.key`,
    /// and without that one too from nothing: then tokens end when Doorward stops, and clients have
    /// to log in again. It is read at start only.
    #[schemars(extend("examples" = [{"file": "secrets/token_key"}]))]
    pub(super) token_key: Option<written::Field>,
}

/// The shortest key, in bytes.
const KEY_BYTES_MIN: usize = 32;

const TOKEN_KEY: &str = "/access/token_key";

impl Meaning<'_> {
    pub(super) fn token_key(&mut self, written: Written) -> Option<Source> {
        match self.field(TOKEN_KEY, written.token_key?) {
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

impl Loaded {
    /// Reads the key that signs clients' tokens; nothing where none is given. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read_token_key(&self) -> Result<Option<SecretText>, Faults> {
        let Some(key) = &self.settings.token_key else { return Ok(None) };
        self.read_key(TOKEN_KEY, key, KEY_BYTES_MIN, "secrets/token_key").map(Some)
    }
}
