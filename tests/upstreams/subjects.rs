//! The servers: how their recipes' accounts are filled in, what is asked of them, and what ends their sessions.

use crate::call::{Ask, FORM, JSON};
use crate::tap::Seen;

/// One server with its recipe.
pub struct Subject {
    /// Its folder, and its recipe.
    pub name: &'static str,
    /// The line of the account that names the user.
    pub login_name: &'static str,
    /// Needs a session, and tells by its answer whether there was one.
    pub read: Ask,
    /// Makes something new out of `{n}`.
    pub write: Ask,
    /// Shows that something.
    pub written: Ask,
    /// The header fields that carry the session.
    pub carried: &'static [&'static str],
    /// Among them, the cookie that a session is known by; servers set others beside it.
    pub cookie: Option<&'static str>,
    /// Whether a request is the one that may count as an attempt.
    pub is_login: fn(&Seen) -> bool,
    /// How many requests a login has that is refused.
    pub refused_after: usize,
    pub kill: Kill,
    /// Whether Doorward can tell by the answer to `read` that the session is dead; writes always tell.
    pub reads_tell: bool,
    /// How a session is logged out that can be.
    pub logout: Option<Logout>,
}

/// A logout that the server was sent.
pub struct Logout {
    /// Whether a request is the last one of it.
    pub is: fn(&Seen) -> bool,
    pub ends: Ends,
}

/// What a logout ends.
pub enum Ends {
    /// Whatever carried the session.
    Session,
    /// What this would be answered otherwise; `{value}` is the logout's body.
    Other(Ask),
}

/// What ends a session at the server.
pub enum Kill {
    /// What `server` is asked to do.
    Verbs(&'static [&'static str]),
    /// A request on the session itself, as its owner may send it from elsewhere; `{value}` is what carries it.
    Ask(Ask),
}

const fn get(to: &'static str, shows: &'static str) -> Ask {
    Ask { to, body: None, status: 200, shows }
}

const fn post(
    to: &'static str,
    kind: &'static str,
    body: &'static str,
    shows: &'static str,
) -> Ask {
    Ask { to, body: Some((kind, body)), status: 200, shows }
}

pub const QBITTORRENT: Subject = Subject {
    name: "qbittorrent",
    login_name: "username = \"USER\"",
    read: get("GET /api/v2/app/version", "v"),
    write: post("POST /api/v2/torrents/createCategory", FORM, "category=walk{n}&savePath=", ""),
    written: get("GET /api/v2/torrents/categories", "\"walk{n}\""),
    carried: &["cookie"],
    cookie: Some("SID"),
    is_login: |seen| seen.to == "POST /api/v2/auth/login",
    refused_after: 1,
    kill: Kill::Ask(post("POST /api/v2/auth/logout", FORM, "", "")),
    reads_tell: true,
    logout: Some(Logout { is: |seen| seen.to == "POST /api/v2/auth/logout", ends: Ends::Session }),
};

const TRANSMISSION_RPC: &str = "POST /transmission/rpc";

pub const TRANSMISSION: Subject = Subject {
    name: "transmission",
    login_name: "username = \"USER\"",
    read: post(
        TRANSMISSION_RPC,
        JSON,
        r#"{"method":"session-get","arguments":{"fields":["version"]}}"#,
        r#""result":"success""#,
    ),
    write: post(
        TRANSMISSION_RPC,
        JSON,
        r#"{"method":"session-set","arguments":{"alt-speed-down":77{n}}}"#,
        r#""result":"success""#,
    ),
    written: post(
        TRANSMISSION_RPC,
        JSON,
        r#"{"method":"session-get","arguments":{"fields":["alt-speed-down"]}}"#,
        r#""alt-speed-down":77{n}"#,
    ),
    carried: &["authorization", "x-transmission-session-id"],
    cookie: None,
    is_login: |seen| seen.field("x-transmission-session-id").is_none(),
    refused_after: 1,
    kill: Kill::Verbs(&["restart"]),
    reads_tell: true,
    logout: None,
};

pub const DELUGE: Subject = Subject {
    name: "deluge",
    login_name: "",
    read: post(
        "POST /json",
        JSON,
        r#"{"method":"web.get_config","params":[],"id":2}"#,
        r#""session_timeout": "#,
    ),
    write: post(
        "POST /json",
        JSON,
        r#"{"method":"web.set_config","params":[{"theme":"walk{n}"}],"id":3}"#,
        r#""error": null"#,
    ),
    written: post(
        "POST /json",
        JSON,
        r#"{"method":"web.get_config","params":[],"id":4}"#,
        r#""theme": "walk{n}""#,
    ),
    carried: &["cookie"],
    cookie: Some("_session_id"),
    is_login: |seen| seen.body.contains("auth.login"),
    refused_after: 1,
    kill: Kill::Ask(post(
        "POST /json",
        JSON,
        r#"{"method":"auth.delete_session","params":[],"id":5}"#,
        r#""result": true"#,
    )),
    reads_tell: true,
    logout: Some(Logout {
        is: |seen| seen.body.contains("auth.delete_session"),
        ends: Ends::Session,
    }),
};

pub const DEVPI: Subject = Subject {
    name: "devpi",
    login_name: "user = \"USER\"",
    read: get("GET /+api", "\"authstatus\": [\n      \"ok\",\n      \"root\""),
    write: Ask {
        to: "PUT /walk{n}",
        body: Some((JSON, r#"{"password":"of nobody"}"#)),
        status: 201,
        shows: "",
    },
    written: get("GET /walk{n}", "\"username\": \"walk{n}\""),
    carried: &["x-devpi-auth"],
    cookie: None,
    is_login: |seen| seen.to == "POST /+login",
    refused_after: 1,
    kill: Kill::Verbs(&["restart"]),
    // A dead token reads as anybody may.
    reads_tell: false,
    logout: None,
};

pub const DJANGO_ADMIN: Subject = Subject {
    name: "django-admin",
    login_name: "username = \"USER\"",
    read: get("GET /admin/", "Site administration"),
    write: Ask {
        to: "POST /admin/auth/group/add/",
        // The token of a form that was opened on a session long gone.
        body: Some((FORM, "csrfmiddlewaretoken=0123456789abcdef0123456789abcdef&name=walk{n}")),
        status: 302,
        shows: "",
    },
    written: get("GET /admin/auth/group/", ">walk{n}</a>"),
    carried: &["cookie"],
    cookie: Some("sessionid"),
    is_login: |seen| seen.to == "POST /admin/login/",
    refused_after: 2,
    kill: Kill::Verbs(&["kill"]),
    reads_tell: true,
    logout: Some(Logout { is: |seen| seen.to == "POST /admin/logout/", ends: Ends::Session }),
};

pub const NODE_RED: Subject = Subject {
    name: "node-red",
    login_name: "username = \"USER\"",
    read: get("GET /flows", "["),
    write: post("POST /flow", JSON, r#"{"label":"walk{n}","nodes":[]}"#, "\"id\""),
    written: get("GET /flows", "\"walk{n}\""),
    carried: &["authorization"],
    cookie: None,
    is_login: |seen| seen.to == "POST /auth/token",
    refused_after: 1,
    kill: Kill::Ask(post("POST /auth/revoke", JSON, r#"{"token":"{value}"}"#, "")),
    reads_tell: true,
    logout: Some(Logout { is: |seen| seen.to == "POST /auth/revoke", ends: Ends::Session }),
};

pub const MEDIAWIKI: Subject = Subject {
    name: "mediawiki",
    login_name: "username = \"USER\"",
    read: get("GET /api.php?action=query&meta=userinfo&format=json&assert=user", "\"Svc\""),
    write: post(
        "POST /api.php?action=edit&format=json",
        FORM,
        "title=Walk{n}&text=walked&createonly=1",
        "\"result\":\"Success\"",
    ),
    written: get("GET /api.php?action=query&titles=Walk{n}&format=json", "\"pageid\""),
    carried: &["cookie"],
    cookie: Some("my_wiki_session"),
    is_login: |seen| seen.to.starts_with("POST /api.php?action=clientlogin"),
    refused_after: 2,
    kill: Kill::Verbs(&["kill"]),
    reads_tell: true,
    logout: Some(Logout {
        is: |seen| seen.to.starts_with("POST /api.php?action=logout"),
        ends: Ends::Session,
    }),
};

pub const DIRECTUS: Subject = Subject {
    name: "directus",
    login_name: "email = \"USER\"",
    read: get("GET /users/me?fields=email", "svc@example.org"),
    write: post(
        "POST /collections",
        JSON,
        r#"{"collection":"walk{n}","schema":{},"fields":[{"field":"id","type":"integer","schema":{"is_primary_key":true}}]}"#,
        "\"walk{n}\"",
    ),
    written: get("GET /collections/walk{n}", "\"walk{n}\""),
    carried: &["authorization"],
    cookie: None,
    is_login: |seen| seen.to == "POST /auth/login",
    refused_after: 1,
    // The refresh token, then the access token: only both together lead to a login.
    kill: Kill::Verbs(&["kill", "restart"]),
    reads_tell: true,
    // An access token lives on; there will be no other one.
    logout: Some(Logout {
        is: |seen| seen.to == "POST /auth/logout",
        ends: Ends::Other(Ask {
            to: "POST /auth/refresh",
            body: Some((JSON, "{value}")),
            status: 401,
            shows: "INVALID_CREDENTIALS",
        }),
    }),
};
