//! Where spans of traces are sent.

use std::path::PathBuf;

use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;

use super::addresses::{Origin, Scheme};
use super::issuers::Location;
use super::meaning::{Meaning, shown};

/// Where spans of traces are sent.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The collector's URL for spans.
    pub endpoint: Location,
    /// The authorities that its certificate is verified by, instead of those of the machine.
    pub ca_file: Option<PathBuf>,
    /// Which part of the traces that begin here is recorded; 1 is all of them.
    pub ratio: f64,
    /// What the service is called.
    pub service_name: String,
}

/// Traces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Traces")]
pub(super) struct Written {
    /// The URL of an OpenTelemetry collector that takes OTLP over HTTP. Where it has no path, spans go
    /// to `/v1/traces` there.
    #[schemars(required, extend("examples" = ["http://127.0.0.1:4318"]))]
    pub(super) endpoint: Option<String>,
    /// A file with the authorities that the collector's certificate is verified by, in PEM. Without it,
    /// those that the machine trusts.
    #[schemars(extend("examples" = ["/etc/doorward/collector-ca.pem"]))]
    pub(super) ca_file: Option<String>,
    /// Which part of the traces that begin here is recorded, from 0 to 1. Where the caller says that it
    /// records its trace, or that it does not, that holds.
    #[serde(default = "whole")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) ratio: f64,
    /// What the service is called in traces.
    #[serde(default = "doorward")]
    pub(super) service_name: String,
}

fn whole() -> f64 {
    1.0
}

fn doorward() -> String {
    "doorward".to_owned()
}

const ENDPOINT: &str = "/traces/endpoint";

const CA_FILE: &str = "/traces/ca_file";

impl Meaning<'_> {
    pub(super) fn traces(&mut self, written: Written) -> Option<Traces> {
        let Written { endpoint, ca_file, ratio, service_name } = written;
        let ca_file = ca_file.map(|path| self.path(CA_FILE, &path));
        if let Some(path) = ca_file.as_deref().filter(|path| !path.is_file()) {
            self.fault(CA_FILE, format!("there is no file `{}`", shown(path)));
        }
        let location = match location(&endpoint?) {
            Ok(location) => location,
            Err(why) => {
                self.fault(ENDPOINT, why);
                return None;
            }
        };
        if ca_file.is_some() && location.origin.scheme == Scheme::Http {
            self.fault(CA_FILE, "without TLS there is no certificate to verify");
        }
        Some(Traces { endpoint: location, ca_file, ratio, service_name })
    }
}

/// Spans hold no secret: whoever runs the network decides whether they go in the clear.
fn location(text: &str) -> Result<Location, String> {
    let uri: Uri = text.parse().map_err(|_| "this is no URL".to_owned())?;
    let without_query = text.split('?').next().unwrap_or_default();
    let (origin, _) = Origin::parse(without_query).map_err(|error| error.to_string())?;
    let target = match uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
        None | Some("" | "/") => "/v1/traces",
        Some(target) => target,
    };
    Ok(Location { origin, target: target.to_owned() })
}
