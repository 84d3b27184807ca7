//! Where the access log is written, and what of requests it may show.

use std::path::PathBuf;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meaning::{Meaning, shown};
use crate::access::KEY_PLACES;

/// Where the access log is written, and what of requests it may show.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where its lines go.
    pub to: LinesTo,
    /// The form of a line.
    pub format: AccessLogFormat,
    /// The parameters of queries that are shown.
    pub query: Vec<String>,
    /// The fields of requests that are shown.
    pub headers: Vec<HeaderName>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinesTo {
    /// Into a file.
    File(PathBuf),
    /// To a stream of the process.
    Stream(AccessLogStream),
}

/// The access log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccessLog")]
pub(super) struct Written {
    /// The file, in a folder that is there. It is only appended to, and may be renamed away at any
    /// time: then it is made anew. Either this or `stream` must be given.
    #[schemars(extend("examples" = ["/var/log/doorward/access.log"]))]
    pub(super) path: Option<String>,
    /// Has the lines written to a stream of the process instead of a file.
    #[schemars(extend("examples" = ["stdout"]))]
    pub(super) stream: Option<AccessLogStream>,
    /// The form of a line.
    #[serde(default)]
    pub(super) format: AccessLogFormat,
    /// The names of parameters that lines show with their values. Nothing else of a query is shown.
    #[serde(default)]
    #[schemars(length(max = 32), extend("examples" = [["page"]]))]
    pub(super) query: Vec<String>,
    /// The names of request fields that lines show with their values: nothing is shown of others.
    /// Fields that carry credentials cannot be shown.
    #[serde(default)]
    #[schemars(length(max = 32), extend("examples" = [["user-agent", "referer"]]))]
    pub(super) headers: Vec<String>,
}

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogStream {
    /// Standard output.
    Stdout,
    /// Standard error, among the lines of the log.
    Stderr,
}

/// The form of a line of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// The combined log format of web servers; what decided the answer and the request's id stand
    /// behind it.
    Combined,
}

const PATH: &str = "/access_log/path";

const STREAM: &str = "/access_log/stream";

/// Fields that carry credentials, besides those that a client's key may stand in.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

impl Meaning<'_> {
    pub(super) fn access_log(&mut self, written: Written) -> Option<AccessLog> {
        let Written { path, stream, format, query, headers } = written;
        let to = match (path, stream) {
            (Some(path), None) => {
                let path = self.path(PATH, &path);
                let folder = path.parent().map(PathBuf::from).unwrap_or_default();
                if !folder.as_os_str().is_empty() && !folder.is_dir() {
                    self.fault(PATH, format!("there is no folder {}", shown(&folder)));
                }
                LinesTo::File(path)
            }
            (None, Some(stream)) => LinesTo::Stream(stream),
            (Some(_), Some(_)) => {
                self.fault(STREAM, "lines go either to `path` or to `stream`");
                return None;
            }
            (None, None) => {
                self.fault("/access_log", "`path` or `stream` must say where the lines go");
                return None;
            }
        };
        let mut names = Vec::new();
        for (index, name) in headers.iter().enumerate() {
            let pointer = format!("/access_log/headers/{index}");
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => self.fault(&pointer, "this is no name of a header field"),
                Ok(name) if is_credential(&name) => {
                    self.fault(&pointer, "this field carries credentials: it is never shown");
                }
                Ok(name) => names.push(name),
            }
        }
        Some(AccessLog { to, format, query, headers: names })
    }
}

fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str()) || KEY_PLACES.iter().any(|place| place == name)
}
