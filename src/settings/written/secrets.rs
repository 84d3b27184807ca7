//! Where secrets come from, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::DurationText;
use crate::settings::defaults;

/// One field of an account: text, or for a secret where it is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("examples" = [{"file": "secrets/password"}]))]
pub(in crate::settings) enum Field {
    /// The text itself; not for secrets.
    Text(String),
    /// In a file.
    File(FileSource),
    /// In an environment variable.
    Environment(EnvironmentSource),
    /// In a systemd credential.
    Credential(CredentialSource),
    /// In what a command prints. It is run without a shell, with Doorward's own environment and
    /// without standard input, and must end with status 0. What it leaves running is killed.
    Command(CommandSource),
}

/// A secret that is kept in a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct FileSource {
    /// The file's path. Nobody but its owner may be able to change it.
    pub(in crate::settings) file: String,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(in crate::settings) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(in crate::settings) verbatim: bool,
}

/// A secret that is kept in an environment variable.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct EnvironmentSource {
    /// The variable's name.
    pub(in crate::settings) env: String,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(in crate::settings) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(in crate::settings) verbatim: bool,
}

/// A secret that systemd hands over (`LoadCredential=`, systemd.exec(5)).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct CredentialSource {
    /// The credential's name.
    pub(in crate::settings) credential: String,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(in crate::settings) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(in crate::settings) verbatim: bool,
}

/// A secret that a command prints.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::settings) struct CommandSource {
    /// The program and its arguments. A program without a slash is looked up in `PATH`.
    #[schemars(length(min = 1), extend("examples" = [["/usr/bin/op", "read", "op://work/cms/password"]]))]
    pub(in crate::settings) command: Vec<String>,
    /// How long it may take, `10s` where nothing is said; then it is killed with its children.
    #[serde(default = "defaults::command_timeout")]
    pub(in crate::settings) timeout: DurationText,
    /// After how long it is run again, to see whether the secret has changed; at least `10s`.
    /// Without it, it is run at start only.
    #[schemars(extend("examples" = ["15m"]))]
    pub(in crate::settings) refresh: Option<DurationText>,
    /// Cut blanks and line ends off. Without it they are an error.
    #[serde(default)]
    pub(in crate::settings) trim: bool,
    /// Take blanks, line ends and quotes around the secret as part of it.
    #[serde(default)]
    pub(in crate::settings) verbatim: bool,
}
