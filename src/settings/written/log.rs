//! What is told on standard error, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Doorward tells about itself on standard error.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct Log {
    /// The form of a line. Without it, `human` on a terminal and `json` elsewhere.
    #[schemars(extend("examples" = ["json"]))]
    pub(in crate::settings) format: Option<LogFormat>,
    /// The least important lines that are still written.
    pub(in crate::settings) level: LogLevel,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// An operator must act.
    Error,
    /// Handled, but degraded.
    Warn,
    /// The life of the process and of its sessions.
    #[default]
    Info,
    /// Each request.
    Debug,
    /// Each step of each request.
    Trace,
}

impl LogLevel {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
