//! One request, straight through: address, cookies, caller, resource, cookies again.

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::address::{Address, Unaddressed};
use super::books::Cookie;
use super::cookies::{NODE_COOKIE, SESSION_COOKIE, attributes, cookie, set};
use super::refusal::Refusal;
use super::switches::Switches;
use super::{MFiles, Shared, content, objects, server_calls, session_calls};
use crate::emulator::house::lock;

/// A request as the service sees it.
pub struct Visit {
    pub address: Result<Address, Unaddressed>,
    pub headers: HeaderMap,
    pub two_nodes: bool,
    /// The ASP.NET session: the client's, if it is known, or a new one.
    pub cookie: String,
    /// The server that answers.
    pub node: usize,
}

/// What a resource answers with.
pub type Answer = Result<Response, Refusal>;

impl Visit {
    pub fn new(head: &Parts, switches: &Switches) -> Self {
        Self {
            address: Address::of(head, switches),
            headers: head.headers.clone(),
            two_nodes: switches.two_nodes,
            cookie: String::new(),
            node: 0,
        }
    }

    pub fn content_type(&self) -> Option<&HeaderValue> {
        self.headers.get(CONTENT_TYPE)
    }
}

pub async fn answer(State(site): State<Shared>, request: Request) -> Response {
    let switches = site.switches_now();
    let (head, body) = request.into_parts();
    // The frame bounds bodies and has read them.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut visit = Visit::new(&head, &switches);
    let new_cookies = site.choose_cookies(&mut visit);

    let mut response = match &visit.address {
        Err(unaddressed) => unaddressed.response(),
        Ok(address) => match site.resource(&visit, address, body).await {
            Ok(response) => response,
            Err(refusal) => refusal.response(address, &switches),
        },
    };
    let attributes = attributes(switches.secure_cookies);
    let headers = response.headers_mut();
    if new_cookies.session {
        set(headers, SESSION_COOKIE, &visit.cookie, attributes);
        if content::is_download(headers) {
            set(headers, SESSION_COOKIE, &visit.cookie, attributes);
        }
    }
    if content::is_download(headers) {
        set(headers, "fileDownload", "true", "");
    }
    if new_cookies.node {
        set(headers, NODE_COOKIE, site.nodes.value(visit.node), attributes);
    }
    response
}

/// Which cookies the client does not have yet.
struct NewCookies {
    session: bool,
    node: bool,
}

impl MFiles {
    fn choose_cookies(&self, visit: &mut Visit) -> NewCookies {
        let node = self.node_of(visit);
        visit.node =
            node.unwrap_or_else(|| if visit.two_nodes { self.chosen_node(visit) } else { 0 });

        let times = self.times();
        let mut books = lock(&self.books);
        let known = cookie(&visit.headers, SESSION_COOKIE);
        let known = known.filter(|value| books.cookie(value, &times).is_some());
        match known {
            Some(value) => {
                books.touch(value, times.now);
                visit.cookie = value.to_owned();
            }
            None => {
                visit.cookie = self.house.mint.short();
                let fresh = Cookie { session: None, vault: None, used: times.now };
                books.add_cookie(visit.cookie.clone(), fresh);
            }
        }
        let session = cookie(&visit.headers, SESSION_COOKIE) != Some(visit.cookie.as_str());
        NewCookies { session, node: visit.two_nodes && node.is_none() }
    }

    async fn resource(&self, visit: &Visit, address: &Address, body: Bytes) -> Answer {
        let resource: Vec<&str> = address.resource.iter().map(String::as_str).collect();
        let method = address.method.as_str();
        match resource.as_slice() {
            ["server", "authenticationtokens"] => {
                return server_calls::authentication_tokens(self, visit, method, &body);
            }
            ["session"] if method == "PUT" => return session_calls::log_in(self, visit, &body),
            ["server", rest @ ..] if server_calls::is_open(rest) => {
                return server_calls::open(rest);
            }
            _ => {}
        }

        let caller = self.caller(visit, address)?;
        if caller.read_only && !matches!(method, "GET" | "HEAD") {
            return Err(Refusal::AccessDenied);
        }
        match resource.as_slice() {
            ["session", rest @ ..] => {
                session_calls::session(self, visit, &caller, method, rest, &body)
            }
            ["server", "vaults"] => session_calls::vaults(self, visit, &caller),
            ["server", ..] => Err(Refusal::NotFound),
            ["files"] => objects::upload(self, visit, &caller, method, body).await,
            _ => {
                caller.vault.ok_or(Refusal::NoVault)?;
                objects::vault_resource(self, &caller, address, &body)
            }
        }
    }
}
