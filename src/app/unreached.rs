//! What to check where whoever a step was sent to could not be spoken to.

use std::borrow::Cow;

use http::StatusCode;

use super::way;
use crate::recipe::{Recipe, Site};
use crate::session::ExchangeError;
use crate::settings;
use crate::upstream::{ConnectError, ProxyError, SendError};

/// Whoever a step was sent to.
pub(super) struct Addressed<'a> {
    /// The upstream's name.
    name: &'a str,
    /// The way there: the upstream's, or one like it.
    to: Cow<'a, settings::Upstream>,
    /// What says where that is.
    by: String,
    /// Whether it is somebody else than the upstream: most of the upstream's `tls` is not for them.
    is_elsewhere: bool,
}

impl<'a> Addressed<'a> {
    pub(super) fn upstream(upstream: &'a settings::Upstream) -> Self {
        let name = upstream.name.as_str();
        let by = format!("`url` of [upstreams.{name}]");
        Self { name, to: Cow::Borrowed(upstream), by, is_elsewhere: false }
    }

    /// Somebody else, to whom this step of the recipe goes.
    pub(super) fn elsewhere(
        upstream: &'a settings::Upstream,
        recipe: &Recipe,
        step: &str,
        site: &Site,
    ) -> Self {
        let name = upstream.name.as_str();
        let by = format!(
            "`origin` of the step `{step}` in {}, or the `parameters` of [upstreams.{name}] for it",
            recipe.file
        );
        Self { name, to: Cow::Owned(way::elsewhere(upstream, site)), by, is_elsewhere: true }
    }

    /// What to check.
    pub(super) fn unreachable(&self, error: &ExchangeError) -> String {
        let Self { name, by, is_elsewhere, .. } = self;
        let settings::Origin { scheme, host, port } = &self.to.origin;
        let at = match &self.to.way {
            settings::Way::Unix(path) => path.display().to_string(),
            settings::Way::Direct | settings::Way::Proxy(_) => format!("{host}:{port}"),
        };
        match error {
            ExchangeError::Send(SendError::Unreachable(connect)) => match connect {
                ConnectError::Dns(_) => format!(
                    "nobody knows the name `{host}`: check {by} and this machine's name resolution"
                ),
                ConnectError::Refused(_) => {
                    format!("nothing listens at {at}, or a firewall is in between: check {by}")
                }
                ConnectError::Exhausted(_) => {
                    "this machine has no descriptor, no port or no memory left for \
                     a connection: raise its limits, or try again later"
                        .to_owned()
                }
                ConnectError::DnsTimeout => format!(
                    "nobody says which addresses `{host}` has: check this machine's name \
                     resolution, and `connect_timeout` of [upstreams.{name}]"
                ),
                ConnectError::Prohibited(address) => format!(
                    "`{host}` leads to {address}, which may be this machine or what gives out its \
                     credentials: check this machine's name resolution and {by}; if the address \
                     is right, name its network in `allowed_networks`"
                ),
                ConnectError::CircuitOpen { .. } => {
                    format!("{at} could not be reached before: try again later")
                }
                ConnectError::Timeout => format!(
                    "{at} does not take connections: check {by}, firewalls and `connect_timeout`"
                ),
                ConnectError::Certificate(_) if *is_elsewhere => format!(
                    "the certificate at {at} is of no authority that is believed, is not valid now, \
                     or is made out to another name: check {by}, and `ca_file` in \
                     [upstreams.{name}.tls]"
                ),
                ConnectError::Certificate(_) => {
                    certificate(&format!("upstreams.{name}.tls"), &self.to.tls)
                }
                ConnectError::Alert { .. } if *is_elsewhere => format!(
                    "{at} refuses the handshake; a certificate of the upstream's `tls` is not shown \
                     there: check {by}"
                ),
                ConnectError::Alert { .. } => {
                    handshake(&format!("upstreams.{name}.tls"), &self.to.tls)
                }
                ConnectError::Tls(_) | ConnectError::Handshake(_) => format!(
                    "what answers at {at} does not speak TLS as it should: if it speaks plain HTTP, \
                     {by} begins with `http://`"
                ),
                ConnectError::Proxy(error) => self.no_way_through(error),
                ConnectError::Http(_) => self.not_http(),
            },
            ExchangeError::Helper(_) | ExchangeError::NoHelper => {
                format!("check `login_helper` of [upstreams.{name}]")
            }
            ExchangeError::Send(SendError::Timeout) => SLOW.to_owned(),
            ExchangeError::Send(SendError::Broken(_)) if *scheme == settings::Scheme::Http => {
                format!("{}; servers of `https` answer `http` like this", self.not_http())
            }
            ExchangeError::Send(SendError::Broken(_)) | ExchangeError::BrokenOff => self.not_http(),
            ExchangeError::TooLong => format!(
                "no login answers at such length: check whether {by} is the API's address, or raise \
                 `login_answer_bytes_max` in [limits]"
            ),
            ExchangeError::Unreadable(_) => {
                "the answer is in a content coding that Doorward cannot read".to_owned()
            }
            ExchangeError::Target => format!(
                "a parameter of [upstreams.{name}] holds something that no path may hold, for \
                 example a space"
            ),
        }
    }

    /// The proxy makes no tunnel.
    fn no_way_through(&self, error: &ProxyError) -> String {
        let Self { name, by, .. } = self;
        let table = format!("upstreams.{name}.proxy");
        let settings::Way::Proxy(proxy) = &self.to.way else { return self.not_http() };
        let at = &proxy.origin;
        match error {
            ProxyError::Unreachable(ConnectError::Certificate(_)) => {
                certificate(&format!("{table}.tls"), &proxy.tls)
            }
            ProxyError::Unreachable(ConnectError::Alert { .. }) => {
                handshake(&format!("{table}.tls"), &proxy.tls)
            }
            ProxyError::Unreachable(_) => {
                format!("the proxy {at} does not take connections: check `url` of [{table}]")
            }
            ProxyError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => match &proxy.login {
                Some((_, source)) => format!(
                    "the proxy {at} refuses this login: check `username` and `password` ({}) of \
                     [{table}]",
                    source.place
                ),
                None => format!(
                    "the proxy {at} asks for a login: set `username` and `password` in [{table}]"
                ),
            },
            ProxyError::Refused(status) if status.is_server_error() => format!(
                "the proxy {at} cannot reach {}: check {by}, as it is seen from the proxy",
                url(&self.to)
            ),
            ProxyError::Refused(_) => format!(
                "the proxy {at} allows no tunnel to {}: have it allowed there, or check `url` of \
                 [{table}]",
                url(&self.to)
            ),
            ProxyError::Head(_) | ProxyError::Ahead | ProxyError::Closed(_) => format!(
                "what answers at {at} is no proxy that makes tunnels: check `url` of [{table}]"
            ),
        }
    }

    fn not_http(&self) -> String {
        let (url, by) = (url(&self.to), &self.by);
        format!("what answers at {url} does not speak HTTP as it should: check {by}")
    }
}

/// Where an upstream is, as its configuration would say it.
pub(super) fn url(upstream: &settings::Upstream) -> String {
    let settings::Origin { scheme, host, port } = &upstream.origin;
    let port = match *port == scheme.default_port() {
        true => String::new(),
        false => format!(":{port}"),
    };
    let scheme = match scheme {
        settings::Scheme::Http => "http",
        settings::Scheme::Https => "https",
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    format!("{scheme}://{host}{port}{}", upstream.base_path)
}

const SLOW: &str = "the login was sent and not answered in time, so the upstream may have counted \
     it: see whether it is well before the next try, or raise `login` in [timeouts] and \
     `response_timeout` of the upstream";

/// The certificate of the server that this table is about is not accepted.
fn certificate(table: &str, tls: &settings::UpstreamTls) -> String {
    let pins = match tls.pins.is_empty() {
        true => "",
        false => ", and whether the server has a new key, which then belongs into `pins`",
    };
    match tls.authorities.file() {
        None => format!(
            "if the certificate is of an authority of your own, name its PEM file as `ca_file` in \
             [{table}]; if it is made out to another name, name that as `server_name`{pins}"
        ),
        Some(path) => format!(
            "the certificate is not of the authorities in `{}`, is not valid now, or is made out to \
             another name: check the file and `server_name` in [{table}]{pins}",
            path.display()
        ),
    }
}

/// The server that this table is about refused the handshake.
fn handshake(table: &str, tls: &settings::UpstreamTls) -> String {
    match &tls.identity {
        None => format!(
            "if the server asks for a certificate, name yours and its key as `certificate` and \
             `key` in [{table}]; if it serves several names, check `server_name` and `sni`"
        ),
        Some(identity) => format!(
            "see whether the server accepts the certificate in `{}`; check `certificate`, \
             `server_name` and `sni` in [{table}]",
            identity.certificate.display()
        ),
    }
}
