//! Where something is that Doorward itself asks or tells, beside its upstreams: the issuers of tokens
//! and a collector of traces.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;

use crate::settings::{self, Scheme};
use crate::upstream::origin::Tls;
use crate::upstream::tls::{Terms, TlsError};
use crate::upstream::{Dialler, Http2, Network, Origin, Way, tls};

/// How long connecting may take: as for upstreams.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// TLS towards a host; `ca_file` has the authorities to trust instead of the machine's.
///
/// # Errors
/// When the authorities cannot be read.
pub(super) fn client(host: &str, ca_file: Option<&Path>) -> Result<Tls, TlsError> {
    tls::client(&Terms::usual(host, ca_file))
}

/// The place of a URL, reached with this TLS, whoever that was made for, where it is needed. An answer
/// may take so long. Nothing where the URL is none.
pub(super) fn origin(
    of: &settings::Origin,
    tls: Option<Tls>,
    time_max: Duration,
) -> Option<Origin> {
    let tls = match of.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            let server_name = ServerName::try_from(of.host.clone()).ok()?;
            Some(Tls { server_name, ..tls? })
        }
    };
    let authority = of.to_string();
    let (_, authority) = authority.split_once("://")?;
    let authority = HeaderValue::from_str(authority).ok()?;
    Some(Origin {
        host: of.host.clone(),
        port: of.port,
        url_authority: authority.clone(),
        authority,
        way: Way::Direct,
        base_path: String::new(),
        tls,
        http2: Http2::Auto,
        upgrades: Vec::new(),
        connect_timeout: CONNECT_TIME_MAX,
        response_timeout: time_max,
        idle_timeout: time_max,
        dialler: Dialler::to(&of.host, of.port, this_machine()),
    })
}

/// They may run on this machine, by whatever name.
fn this_machine() -> Vec<Network> {
    vec![Network::new(Ipv4Addr::LOCALHOST.into(), 8), Network::new(Ipv6Addr::LOCALHOST.into(), 128)]
}
