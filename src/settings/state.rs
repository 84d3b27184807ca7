//! Where the state is kept: a folder, and by reference the key that seals it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meaning::Meaning;
use super::{Field, Loaded, defaults, written};
use crate::diagnosis::Faults;
use crate::secret::{SecretText, Source};

/// Where the state is kept, sealed.
#[derive(Clone, Debug)]
pub struct State {
    /// The folder.
    pub path: PathBuf,
    /// Where the key is kept.
    pub key: Source,
    /// What happens when it cannot be written.
    pub on_failure: OnFailure,
    /// What becomes of the sessions at stop.
    pub at_stop: AtStop,
}

/// Where the state is kept, sealed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "State")]
pub(super) struct Written {
    /// A folder of its own that nobody else can change; it is made where there is none. One process
    /// uses it at a time.
    #[serde(default = "defaults::state_path")]
    pub(super) path: String,
    /// The key that seals the state: at least 32 bytes of random text, kept like any secret. Under
    /// another key nothing of the state can be read.
    #[schemars(required, extend("examples" = [{"file": "secrets/state_key"}]))]
    pub(super) key: Option<written::Field>,
    /// What happens when the state cannot be written, for example because the disk is full.
    #[serde(default)]
    pub(super) on_failure: OnFailure,
    /// What becomes of the sessions when Doorward stops.
    #[serde(default)]
    pub(super) at_stop: AtStop,
}

/// What happens when the state cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// No login is sent whose attempt could not be recorded: requests that need one get 503.
    #[default]
    Block,
    /// Logins go on. After a crash their attempts are not counted and their sessions stay open.
    Continue,
}

/// What becomes of the sessions when Doorward stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtStop {
    /// They are logged out.
    #[default]
    LogOut,
    /// They stay open for the next start, which uses those that are still alive.
    Keep,
}

/// The shortest key, in bytes; the room of the state asks for as many.
const KEY_BYTES_MIN: usize = 32;

const KEY: &str = "/state/key";

impl Meaning<'_> {
    pub(super) fn state(&mut self, written: Written) -> Option<State> {
        let path = self.path("/state/path", &written.path);
        let key = match self.field(KEY, written.key?) {
            Field::Secret(source) => source,
            Field::Text(_) => {
                let message = "the key is a secret and must not stand in the configuration";
                let fault = self.layers.secret_fault(KEY, message);
                self.faults.push(fault.help("write `key = { file = \"secrets/state_key\" }`"));
                return None;
            }
        };
        let Written { on_failure, at_stop, .. } = written;
        Some(State { path, key, on_failure, at_stop })
    }
}

impl Loaded {
    /// Reads the key that seals the state; nothing where no state is kept. Blocks on the file
    /// system.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read_state_key(&self) -> Result<Option<SecretText>, Faults> {
        let Some(state) = &self.settings.state else { return Ok(None) };
        self.read_key(KEY, &state.key, KEY_BYTES_MIN, "secrets/state_key").map(Some)
    }
}
