//! What must hold for the fields and the body of any message.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::body::BodyKind;
use super::inject::{Credentials, Injector, passes_for_credential};
use super::{coding, hop, target, upgrade, via};
use crate::diagnosis::Document;
use crate::fields::Fields;
use crate::login::{Jar, Material};
use crate::properties::{Draws, head};
use crate::recipe::Recipe;
use crate::recipe::template::Values;
use crate::secret::SecretText;

/// Fields that no message carries further.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Where the session of the recipes below comes from.
const LOGIN: &str = r#"
verdict = [{ when = { status = [401] }, then = "expired" }]
[[login.steps]]
name = "log in"
method = "POST"
path = "/login"
form = { user = "{{user}}" }
take = { token = { json = "/token" } }
"#;

/// A session in a field, a query parameter and cookies.
const RECIPE: &str = r#"
name = "all"
title = "Everything that a session puts into requests"
account.user = { kind = "login_name" }
session.cookies = "login"
strip = { headers = ["X-Api-Key"], query = ["key"] }
inject = [
    { header = "X-Token", value = "{{token}}" },
    { header = "X-Version", value = "1", overwrite = "if_absent" },
    { query = "sid", value = "{{token}}" },
    { cookies = true },
]
"#;

/// Of what a client sends, the fields of its own connection and all that could pass for a session
/// stay behind; everything else goes on as it was, in its order.
pub fn fields(data: &[u8]) {
    let mut draws = Draws::new(data);
    let token = draws.text();
    let host = draws.text();
    let query = draws.text();
    let sent = head(&mut draws);
    without_hop_by_hop(&sent);
    without_other_origins(&sent, &host);
    with_readable_codings(&sent);
    with_the_session(&sent, &token, &query);
    let allowed = [HeaderValue::from_static("websocket")];
    if let Some(protocol) = upgrade::requested(&sent, &allowed) {
        assert_eq!(protocol, "websocket");
        let mut headers = sent.clone();
        hop::remove_hop_by_hop(&mut headers);
        upgrade::set(&mut headers, protocol);
        assert_eq!(upgrade::requested(&headers, &allowed), Some(protocol));
    }
    let via = via::Via::new("doorward-3f");
    let mut headers = sent;
    via.add(&mut headers, Version::HTTP_11);
    assert!(via.is_in(&headers), "a loop passes");
}

fn without_hop_by_hop(sent: &Fields) {
    let nominated: Vec<HeaderName> = sent
        .get_all(header::CONNECTION)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let framing = [header::HOST, header::CONTENT_LENGTH];
    let mut headers = sent.clone();
    hop::remove_hop_by_hop(&mut headers);
    for name in sent.names() {
        let goes = HOP_BY_HOP.contains(name) || nominated.contains(name) && !framing.contains(name);
        let expected = if goes { Vec::new() } else { values(sent, name) };
        assert_eq!(values(&headers, name), expected, "{name}");
    }
    let once = headers.clone();
    hop::remove_hop_by_hop(&mut headers);
    assert_eq!(headers, once);
}

fn values<'a>(headers: &'a Fields, name: &'a HeaderName) -> Vec<&'a [u8]> {
    headers.get_all(name).collect()
}

fn without_other_origins(sent: &Fields, host: &str) {
    let origin = hop::Origin::new(Some([192, 0, 2, 7].into()), "https");
    let told = origin.told(host);
    let ours = [
        ("x-forwarded-for", "192.0.2.7".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-forwarded-host", host.to_owned()),
        ("forwarded", format!("for=192.0.2.7;host=\"{host}\";proto=https")),
    ];
    for (name, value) in ours {
        // A host that no field may hold is not told.
        let expected = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""));
        let name = HeaderName::from_static(name);
        let found: Vec<_> = told.fields().filter(|(told, _)| **told == name).collect();
        assert_eq!(found, [(&name, &expected)]);
        assert!(hop::stays(&name, &[]), "{name}");
    }
    let nominated = hop::nominated(sent);
    for name in sent.names().filter(|name| nominated.contains(name)) {
        assert!(hop::stays(name, &nominated), "{name}");
    }
    for name in ["x-real-ip", "x-original-url", "x-rewrite-url", "x-http-method-override"] {
        assert!(hop::stays(&HeaderName::from_static(name), &[]), "{name}");
    }
}

fn with_readable_codings(sent: &Fields) {
    let accepted = coding::accept_readable_only(sent);
    assert_eq!(accepted.is_some(), sent.contains(header::ACCEPT_ENCODING), "{accepted:?}");
    if let Some(value) = accepted {
        for member in value.to_str().unwrap_or("none").split(',') {
            let name = member.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let readable = ["gzip", "x-gzip", "deflate", "br", "zstd", "identity"];
            assert!(readable.contains(&name.as_str()), "{name}");
        }
    }
}

fn with_the_session(sent: &Fields, token: &str, query: &str) {
    static LOADED: LazyLock<Recipe> = LazyLock::new(|| loaded(RECIPE));
    let mut values_of_login = Values::default();
    values_of_login.set("token", SecretText::from(token.to_owned()));
    let parts = ("sid".to_owned(), "a-cookie".to_owned(), "/".to_owned());
    let cookies = Jar::kept("", [parts]);
    let material = Material { values: values_of_login, cookies, expires: None, longest: None };
    let mut headers = sent.clone();
    let credentials = Credentials::among(&LOADED, sent);
    for name in sent.names() {
        assert_eq!(credentials.have(name), passes_for_credential(&LOADED, name), "{name}");
    }
    headers.retain(|name, _| !credentials.have(name));
    for name in headers.names() {
        assert!(!name.as_str().contains('_'), "{name} passes for another");
        let is_credential = ["authorization", "cookie", "x-api-key", "x-token"];
        assert!(!is_credential.contains(&name.as_str()), "{name} is the client's");
        assert_eq!(values(&headers, name), values(sent, name));
    }
    let injector = match Injector::new(&LOADED, &material, SystemTime::UNIX_EPOCH) {
        Ok(injector) => injector,
        Err(unusable) => {
            let is_odd = |one: char| one.is_control() || !one.is_ascii();
            assert!(token.contains(is_odd), "{token:?}: {unusable}");
            return;
        }
    };
    let shown = format!("{injector:?}");
    assert!(token.len() < 16 || !shown.contains(token), "{shown}");
    let mut headers = HeaderMap::from(headers);
    injector.apply(&Method::GET, "/", &mut headers);
    for (name, expected) in [("x-token", token), ("cookie", "sid=a-cookie")] {
        let found: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{name}: {found:?}");
        for value in found {
            assert_eq!(value.as_bytes(), expected.as_bytes());
            assert!(value.is_sensitive(), "{name} is shown");
        }
    }
    assert!(headers.contains_key("x-version"));
    with_the_query(&LOADED, &injector, query);
}

fn loaded(recipe: &str) -> Recipe {
    let document = Document::parse("all.toml", format!("{recipe}{LOGIN}"));
    let recipe = document.and_then(|document| Recipe::load(&document, &BTreeMap::new()));
    recipe.unwrap_or_else(|faults| panic!("{faults}"))
}

fn with_the_query(recipe: &Recipe, injector: &Injector, query: &str) {
    let dropped =
        |pair: &str| recipe.strips_query(pair.split_once('=').map_or(pair, |(name, _)| name));
    let added: Vec<&str> = injector.query(&Method::GET).collect();
    let rewritten = target::rewrite("", "/x", Some(query), dropped, added.iter().copied());
    let kept = query.split('&').filter(|pair| !dropped(pair)).chain(added.iter().copied());
    let expected: Vec<&str> = kept.collect();
    let joined = match expected.as_slice() {
        [] => "/x".to_owned(),
        pairs => format!("/x?{}", pairs.join("&")),
    };
    assert_eq!(rewritten, joined);
    for pair in added {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"&#?+".contains(&byte);
        assert!(pair.bytes().all(is_plain), "{pair:?} is more than a parameter");
    }
}

/// A session in bodies of every kind: by POST in the place of the client's, by PUT where it has none.
const IN_BODIES: &str = r#"
name = "bodies"
title = "Everything that a session goes into in bodies"
account.user = { kind = "login_name" }
inject = [
    { json = "/params/sid", value = "{{token}}", methods = ["POST"] },
    { form = "sid", value = "{{token}}", methods = ["POST"] },
    { xml = "/Envelope/Header/{urn:x}Session/id", value = "{{token}}", methods = ["POST"] },
    { json = "/params/sid", value = "{{token}}", methods = ["PUT"], overwrite = "if_absent" },
    { form = "sid", value = "{{token}}", methods = ["PUT"], overwrite = "if_absent" },
    { xml = "/Envelope/Header/{urn:x}Session/id", value = "{{token}}", methods = ["PUT"], overwrite = "if_absent" },
]
"#;

/// The longest body that comes out.
const WRITTEN_BYTES_MAX: usize = 64 * 1024;

/// A body takes the session or is refused, within the bound. One that has it stays as it is, and one
/// that takes it keeps all that its client has written.
pub fn bodies(data: &[u8]) {
    static LOADED: LazyLock<Recipe> = LazyLock::new(|| loaded(IN_BODIES));
    let mut draws = Draws::new(data);
    let token = draws.text();
    let body = draws.rest();
    let mut values = Values::default();
    values.set("token", SecretText::from(token.clone()));
    let (cookies, expires, longest) = (Jar::default(), None, None);
    let material = Material { values, cookies, expires, longest };
    let Ok(injector) = Injector::new(&LOADED, &material, SystemTime::UNIX_EPOCH) else {
        let is_none = |one: char| one.is_control() || matches!(one, '\u{fffe}' | '\u{ffff}');
        assert!(token.contains(is_none), "{token:?}");
        return;
    };
    for kind in [BodyKind::Json, BodyKind::Form, BodyKind::Xml] {
        let write =
            |method: &Method, body: &[u8]| injector.written(method, kind, body, WRITTEN_BYTES_MAX);
        for method in [Method::POST, Method::PUT] {
            let Ok(once) = write(&method, body) else { continue };
            assert!(once.len() <= WRITTEN_BYTES_MAX || once == body, "{kind:?} {}", once.len());
            // Whoever has the session, and so needs no other.
            assert_eq!(write(&Method::PUT, &once).as_ref(), Ok(&once), "{kind:?} {method}");
            if method == Method::POST {
                assert_eq!(write(&method, &once).as_ref(), Ok(&once), "{kind:?}");
            } else if kind == BodyKind::Xml {
                assert!(is_within(body, &once), "{:?}", String::from_utf8_lossy(&once));
            }
        }
    }
}

/// Whether all of `part` is in `whole`, in its order.
fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}
