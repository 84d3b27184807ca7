//! Every path of the admin API, once: the router and the description are made from the same list.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::answers::{
    Client, Done, Link, Login, Page, Rejected, Request, Session, Setting, Status, Summary, Upstream,
};
use super::{Api, actions, handlers, page};

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What it is for, in a line.
    pub(super) summary: &'static str,
    /// What may stand in its query, each with what it is.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// What its body is, if it has one.
    pub(super) body: Option<SchemaOf>,
    pub(super) answer: Answer,
    handler: MethodRouter<Arc<Api>>,
}

/// Makes a schema.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What is answered where all goes well.
pub(super) enum Answer {
    /// JSON of this form.
    Json(SchemaOf),
    /// Something else, of this type.
    Other(&'static str),
}

const PAGE: [(&str, &str); 2] = [
    ("limit", "how many elements at most, 1 to 1000; 100 where nothing is said"),
    ("after", "`next` of the part before"),
];

const REQUESTS: &[(&str, &str)] = &[
    PAGE[0],
    PAGE[1],
    ("client", "a client's name"),
    ("upstream", "an upstream's name"),
    ("status", "like 404, 4xx or >=400"),
    ("path", "a path, with `*` for any characters"),
];

const LIVE: &[(&str, &str)] = &[
    ("client", "a client's name; for requests"),
    ("upstream", "an upstream's name"),
    ("status", "like 404, 4xx or >=400; for requests"),
    ("path", "a path, with `*` for any characters; for requests"),
    ("events", "`request`, `login`, `session` and `summary`, with commas between them"),
];

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let list = [
        read::<Status>("/admin/v1/status", "How the gateway is", &[], get(handlers::status)),
        read::<Page<Session>>(
            "/admin/v1/sessions",
            "Sessions, logins under way, and accounts without either",
            &PAGE,
            get(handlers::sessions),
        ),
        read::<Page<Upstream>>(
            "/admin/v1/upstreams",
            "Upstreams: how they can be reached, and what is left to their accounts",
            &PAGE,
            get(handlers::upstreams),
        ),
        read::<Page<Client>>(
            "/admin/v1/clients",
            "Clients: their keys, grants and limits",
            &PAGE,
            get(handlers::clients),
        ),
        read::<Page<Setting>>(
            "/admin/v1/config",
            "Every value of the configuration and what has set it",
            &PAGE,
            get(handlers::config),
        ),
        read::<Page<Request>>(
            "/admin/v1/requests",
            "The last requests, the newest first",
            REQUESTS,
            get(handlers::requests),
        ),
        read::<Request>(
            "/admin/v1/requests/{id}",
            "One of the last requests, by its `X-Request-Id`",
            &[],
            get(handlers::request),
        ),
        read::<Page<Rejected>>(
            "/admin/v1/rejected",
            "The last messages that were rejected for what they are, the newest first",
            &PAGE,
            get(handlers::rejected),
        ),
        read::<Page<Login>>(
            "/admin/v1/logins",
            "The last logins, the newest first",
            &PAGE,
            get(handlers::logins),
        ),
        read::<Page<Summary>>(
            "/admin/v1/summaries",
            "The last quarter of an hour, second by second, the oldest first",
            &PAGE,
            get(handlers::summaries),
        ),
        other(
            "/admin/v1/live",
            "What happens, as it happens: server-sent events `request`, `login`, `session`, \
             `summary` (once a second) and `lost` (so many were missed)",
            LIVE,
            "text/event-stream",
            get(handlers::live),
        ),
        change::<actions::OfClient>(
            "/admin/v1/sessions/{upstream}/{account}/log_in",
            "Logs in again; the session that is there serves until then",
            post(actions::log_in),
        ),
        change::<actions::OfClient>(
            "/admin/v1/sessions/{upstream}/{account}/log_out",
            "Logs a session out once no request carries it",
            post(actions::log_out),
        ),
        change::<actions::Nothing>(
            "/admin/v1/sessions/{upstream}/{account}/clear",
            "Gives an account a whole budget of login attempts and lifts its quarantine",
            post(actions::clear),
        ),
        change::<actions::Pause>(
            "/admin/v1/upstreams/{upstream}/pause",
            "Sends nothing to an upstream; its clients get 503 `upstream_paused`",
            post(actions::pause),
        ),
        change::<actions::Nothing>(
            "/admin/v1/upstreams/{upstream}/resume",
            "Uses a paused upstream again",
            post(actions::resume),
        ),
        change::<actions::Revoke>(
            "/admin/v1/clients/revoke",
            "Revokes a client's key for ever",
            post(actions::revoke),
        ),
        change::<actions::Nothing>(
            "/admin/v1/drain",
            "Stops the gateway as SIGTERM does",
            post(actions::drain),
        ),
        change::<actions::Nothing>(
            "/admin/v1/reload",
            "Reads the configuration again",
            post(actions::reload),
        ),
        Operation {
            answer: Answer::Json(of::<Link>),
            ..change::<actions::Nothing>(
                "/admin/v1/links",
                "A link that opens the page once, within a minute; where there is `admin.address`",
                post(actions::link),
            )
        },
        other(
            "/admin/v1/openapi.json",
            "This description",
            &[],
            "application/json",
            get(handlers::openapi),
        ),
        other("/livez", "Whether the process runs", &[], "text/plain", get(handlers::livez)),
        other(
            "/readyz",
            "Whether requests are taken; what is looked at, with `verbose`",
            &[("verbose", "shows every check")],
            "text/plain",
            get(handlers::readyz),
        ),
        other(
            "/metrics",
            "Metrics as collectors read them",
            &[],
            "text/plain",
            get(handlers::metrics),
        ),
        other("/", "All of this for people, in a browser", &[], "text/html", get(page::index)),
        other("/page/{file}", "A file that the page loads", &[], "*/*", get(page::file)),
    ];
    list.into()
}

/// Those for whoever watches over the gateway.
pub(super) const HEALTH: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// A router of these operations.
pub(super) fn router(operations: impl IntoIterator<Item = Operation>) -> Router<Arc<Api>> {
    let add = |router: Router<_>, one: Operation| router.route(one.path, one.handler);
    let router = operations.into_iter().fold(Router::new(), add);
    router.fallback(handlers::not_found).method_not_allowed_fallback(handlers::method_not_allowed)
}

fn read<T: JsonSchema>(
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    handler: MethodRouter<Arc<Api>>,
) -> Operation {
    let answer = Answer::Json(of::<T>);
    Operation { method: Method::GET, path, summary, query, body: None, answer, handler }
}

fn other(
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    kind: &'static str,
    handler: MethodRouter<Arc<Api>>,
) -> Operation {
    let answer = Answer::Other(kind);
    Operation { method: Method::GET, path, summary, query, body: None, answer, handler }
}

fn change<T: JsonSchema>(
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<Arc<Api>>,
) -> Operation {
    let (body, answer) = (Some(of::<T> as SchemaOf), Answer::Json(of::<Done>));
    Operation { method: Method::POST, path, summary, query: &[], body, answer, handler }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
