//! Where an upstream is and how it is reached, out of the settings.

use data_encoding::BASE64;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::build::BuildError;
use super::reach::{Outside, dialler};
use super::words;
use crate::recipe::Site;
use crate::settings::{self, Authorities, Credentials, Scheme, Sni};
use crate::upstream::origin::Tls;
use crate::upstream::tls::{self, Identity, Pin, Terms, Trust, Version};
use crate::upstream::{Http2, Origin, Proxy, Way};

/// Where an upstream is and how it is reached.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn origin(
    written: &settings::Upstream,
    credentials: &Credentials,
    outside: &Outside,
) -> Result<Origin, BuildError> {
    let settings::Origin { host, port, .. } = &written.origin;
    let http2 = words::http2(written.http2);
    let url_authority = field(&authority(&written.origin))?;
    Ok(Origin {
        host: host.clone(),
        port: *port,
        authority: written.authority.as_deref().map_or(Ok(url_authority.clone()), field)?,
        url_authority,
        base_path: written.base_path.clone(),
        way: way(written, credentials)?,
        tls: tls(&written.name, &written.origin, &written.tls, http2)?,
        http2,
        upgrades: written.upgrades.iter().map(|name| field(name)).collect::<Result<_, _>>()?,
        connect_timeout: written.connect_timeout,
        response_timeout: written.response_timeout,
        idle_timeout: written.idle_timeout,
        dialler: dialler(written, outside),
    })
}

/// Where a step of its recipe goes that does not go to the upstream.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn site(
    written: &settings::Upstream,
    site: &Site,
    credentials: &Credentials,
    outside: &Outside,
) -> Result<Origin, BuildError> {
    origin(&elsewhere(written, site), credentials, outside)
}

/// The same, as if it were an upstream. The way there and whose certificates are believed are those of
/// the upstream; what names the upstream itself, or shows who comes to it, is not.
pub(super) fn elsewhere(written: &settings::Upstream, site: &Site) -> settings::Upstream {
    let scheme = if site.is_encrypted { Scheme::Https } else { Scheme::Http };
    let tls = settings::UpstreamTls {
        server_name: None,
        sni: Sni::ServerName,
        pins: Vec::new(),
        identity: None,
        ..written.tls.clone()
    };
    settings::Upstream {
        origin: settings::Origin { scheme, host: site.host.clone(), port: site.port },
        base_path: String::new(),
        authority: None,
        way: match &written.way {
            settings::Way::Unix(_) => settings::Way::Direct,
            way => way.clone(),
        },
        tls,
        http2: settings::Http2::Auto,
        upgrades: Vec::new(),
        reach: settings::Reach { addresses: Vec::new(), ..written.reach.clone() },
        ..written.clone()
    }
}

/// The host, and the port where it is not the scheme's own.
fn authority(origin: &settings::Origin) -> String {
    let settings::Origin { scheme, host, port } = origin;
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    match *port == scheme.default_port() {
        true => bracketed,
        false => format!("{bracketed}:{port}"),
    }
}

fn field(text: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(text)
        .map_err(|_| BuildError::Inconsistent(format!("`{text}` cannot stand in a field")))
}

fn way(written: &settings::Upstream, credentials: &Credentials) -> Result<Way, BuildError> {
    let proxy = match &written.way {
        settings::Way::Direct => return Ok(Way::Direct),
        settings::Way::Unix(path) => return Ok(Way::Unix(path.clone())),
        settings::Way::Proxy(proxy) => proxy,
    };
    let authorization = proxy.login.as_ref().map(|(name, _)| -> Result<_, BuildError> {
        let password = credentials.proxy_password(&written.name);
        let password = password.ok_or_else(|| {
            BuildError::Inconsistent(format!("no password for the proxy of {}", written.name))
        })?;
        // RFC 7617 section 2.
        let pair = Zeroizing::new(format!("{name}:{}", password.expose()));
        let basic = Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&basic)
            .map_err(|_| BuildError::Inconsistent("base64 cannot stand in a field".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    });
    Ok(Way::Proxy(Box::new(Proxy {
        host: proxy.origin.host.clone(),
        port: proxy.origin.port,
        tls: tls(&written.name, &proxy.origin, &proxy.tls, Http2::Never)?,
        authorization: authorization.transpose()?,
    })))
}

fn tls(
    upstream: &str,
    origin: &settings::Origin,
    written: &settings::UpstreamTls,
    http2: Http2,
) -> Result<Option<Tls>, BuildError> {
    if origin.scheme == Scheme::Http {
        return Ok(None);
    }
    let identity = written.identity.as_ref();
    let terms = Terms {
        server_name: written.server_name.as_deref().unwrap_or(&origin.host),
        sni: match &written.sni {
            Sni::ServerName => tls::Sni::ServerName,
            Sni::Other(name) => tls::Sni::Other(name),
            Sni::Off => tls::Sni::Off,
        },
        trust: match &written.authorities {
            Authorities::Machine => Trust::Machine,
            Authorities::MachineAnd(path) => Trust::MachineAnd(path),
            Authorities::Only(path) => Trust::Only(path),
        },
        identity: identity
            .map(|settings::Identity { certificate, key }| Identity { certificate, key }),
        pins: written.pins.iter().copied().map(Pin).collect(),
        version_min: match written.version_min {
            settings::TlsVersion::Tls12 => Version::Tls12,
            settings::TlsVersion::Tls13 => Version::Tls13,
        },
        http2,
    };
    let client = tls::client(&terms);
    client.map(Some).map_err(|error| BuildError::UpstreamTls(upstream.to_owned(), error))
}
