//! Real servers, none of them ours, each with its built-in recipe behind the binary: a login when somebody asks, reads and
//! writes, sessions that the server itself ends, a login that it refuses, and the logout at the end.
//!
//! `tests/upstreams/install` must have run, and `tests/upstreams/install heavy` for the tests in `heavy` (`--skip heavy`
//! leaves them out); without its server a test here fails.

// A test ends where something is not as it must be, in its helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod call;
mod gateway;
#[path = "../clients/running.rs"]
mod running;
mod server;
mod subjects;
mod tap;
mod walk;

use walk::walk;

/// Fails when the recipe expects a wrong password or a dead session (403) to be told in another way than
/// qBittorrent tells it, or when logging out does not end the cookie.
#[tokio::test]
async fn qbittorrent() {
    walk(&subjects::QBITTORRENT).await;
}

/// Fails when a 409 with another session id is not noticed, or a wrong password (401) is taken for something else.
#[tokio::test]
async fn transmission() {
    walk(&subjects::TRANSMISSION).await;
}

/// Fails when an error within a 200 is not noticed, or the cookie that every answer sets again reaches a client.
#[tokio::test]
async fn deluge() {
    walk(&subjects::DELUGE).await;
}

/// Fails when a token with quotes and blanks is damaged on its way, or a dead one that reads still work with is not
/// noticed by writes.
#[tokio::test]
async fn devpi() {
    walk(&subjects::DEVPI).await;
}

/// Fails when a redirect to the login page is taken for any other redirect, or the anti-forgery token is not that of
/// the session, in forms that have an older one as well.
#[tokio::test]
async fn django_admin() {
    walk(&subjects::DJANGO_ADMIN).await;
}

/// Fails when a dead bearer token is not noticed, or is not revoked at the end.
#[tokio::test]
async fn node_red() {
    walk(&subjects::NODE_RED).await;
}

mod heavy {
    use super::*;

    /// Fails when a dead session is not noticed by what `assert=user` brings, or outlives its logout, or a client that writes
    /// has to know of a token.
    #[tokio::test]
    async fn mediawiki() {
        walk(&subjects::MEDIAWIKI).await;
    }

    /// Fails when a dead access token is not noticed, or a refresh that is refused does not lead to a login.
    #[tokio::test]
    async fn directus() {
        walk(&subjects::DIRECTUS).await;
    }
}
