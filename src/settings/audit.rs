//! Where the audit trail is written, and by reference the key that its chain is made with.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meaning::{Meaning, shown};
use super::{Field, Loaded, written};
use crate::diagnosis::Faults;
use crate::secret::{SecretText, Source};

/// Where the audit trail is written.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The file.
    pub path: PathBuf,
    /// Where the key of the chain is kept, if it has one.
    pub key: Option<Source>,
    /// What becomes of requests while lines cannot be written.
    pub on_failure: OnFailure,
}

/// Where the audit trail is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Audit")]
pub(super) struct Written {
    /// The file, in a folder that is there. It is only appended to, and may be renamed away at any
    /// time: then it is made anew.
    #[schemars(required, extend("examples" = ["/var/log/doorward/audit.jsonl"]))]
    pub(super) path: Option<String>,
    /// Makes the chain of the lines: at least 32 bytes of random text, kept where those who could
    /// change the file cannot read it. Without it whoever can write the file can make its chain anew.
    #[schemars(extend("examples" = [{"file": "secrets/audit_key"}]))]
    pub(super) key: Option<written::Field>,
    /// What happens when lines cannot be written, for example because the disk is full.
    #[serde(default)]
    pub(super) on_failure: OnFailure,
}

/// What happens when lines cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Requests go on. The log says so, and once lines can be written again, one of them says how
    /// many are missing.
    #[default]
    Continue,
    /// No request is forwarded: clients get `audit_unwritable` until lines can be written again. What
    /// was under way ends, and its lines wait.
    Block,
}

/// The shortest key, in bytes.
const KEY_BYTES_MIN: usize = 32;

const PATH: &str = "/audit/path";

const KEY: &str = "/audit/key";

impl Meaning<'_> {
    pub(super) fn audit(&mut self, written: Written) -> Option<Audit> {
        let Written { path, key, on_failure } = written;
        let path = self.path(PATH, &path?);
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            self.fault(PATH, format!("there is no folder {}", shown(&folder)));
        }
        let key = match key.map(|key| self.field(KEY, key)) {
            None => None,
            Some(Field::Secret(source)) => Some(source),
            Some(Field::Text(_)) => {
                let message = "the key is a secret and must not stand in the configuration";
                let fault = self.layers.secret_fault(KEY, message);
                self.faults.push(fault.help("write `key = { file = \"secrets/audit_key\" }`"));
                return None;
            }
        };
        Some(Audit { path, key, on_failure })
    }
}

impl Loaded {
    /// Reads the key of the audit trail; nothing where it has none. Blocks on the file system.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read_audit_key(&self) -> Result<Option<SecretText>, Faults> {
        let Some(key) = self.settings.audit.as_ref().and_then(|audit| audit.key.as_ref()) else {
            return Ok(None);
        };
        self.read_key(KEY, key, KEY_BYTES_MIN, "secrets/audit_key").map(Some)
    }

    /// Reads a key at `pointer` that a room asks for.
    ///
    /// # Errors
    /// When it cannot be read or is too short; the help says how to make one, in the file `example`.
    pub(super) fn read_key(
        &self,
        pointer: &str,
        key: &Source,
        bytes_min: usize,
        example: &str,
    ) -> Result<SecretText, Faults> {
        let mut faults = Faults::new();
        let text = match key.read(&self.sources.environment) {
            Ok(unsealed) => unsealed.text,
            Err(error) => {
                let fault = self.layers.fault(pointer, error.to_string());
                faults.push(error.remedy().into_iter().fold(fault, crate::diagnosis::Fault::help));
                return Err(faults);
            }
        };
        let length = text.expose().len();
        if length < bytes_min {
            let message = format!("the key has {length} bytes; it needs at least {bytes_min}");
            let fault = self.layers.fault(pointer, message);
            faults.push(fault.help(format!(
                "make one: (umask 077; head -c 32 /dev/urandom | base64 -w0 > {example})"
            )));
            return Err(faults);
        }
        Ok(text)
    }
}
