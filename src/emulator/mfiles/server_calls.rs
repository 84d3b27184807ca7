//! `/server`: login tokens, and what anybody may read.

use axum::Json;
use axum::response::IntoResponse;
use serde_json::json;

use super::MFiles;
use super::authentication::Authentication;
use super::books::{SessionNumber, Token};
use super::refusal::Refusal;
use super::vaults::Vault;
use super::visit::{Answer, Visit};
use crate::emulator::house::lock;

/// How long a token is; recorded ones have about this length.
const TOKEN_CHARACTERS: usize = 342;

/// Seals the credentials of the call into a token, right or wrong. `Content-Type` is not looked at:
/// there are clients that send none.
pub fn authentication_tokens(site: &MFiles, visit: &Visit, method: &str, body: &[u8]) -> Answer {
    if method != "POST" {
        return Err(Refusal::MethodNotAllowed);
    }
    let with: Authentication = serde_json::from_slice(body).map_err(|_| Refusal::BadRequest)?;
    let mut books = lock(&site.books);
    if books.is_right(&with.username, &with.password) {
        site.house.tally.logged_in();
    } else {
        site.house.tally.login_refused();
    }
    let session = books.open(&with);
    let vault = with.vault_guid.as_deref().and_then(Vault::by_guid);
    let value = site.house.mint.sealed(TOKEN_CHARACTERS);
    let token = Token {
        expiration: with.expiration,
        read_only: with.read_only,
        url: with.url.filter(|url| !url.is_empty()),
        method: with.method.filter(|method| !method.is_empty()),
        ..site.plain_token(visit, session, vault)
    };
    books.add_token(value.clone(), token);
    Ok(Json(json!({ "Value": value })).into_response())
}

/// Whether this needs no credential.
pub fn is_open(resource: &[&str]) -> bool {
    matches!(resource, ["status" | "publickey" | "authenticationprotocols"])
}

pub fn open(resource: &[&str]) -> Answer {
    let body = match resource {
        ["status"] => json!({ "Successful": true, "Message": "" }),
        ["publickey"] => json!({ "Exponent": "AQAB", "Modulus": "wJZ8n4xq2vTtYk7mB0sR5uE1hG9o" }),
        ["authenticationprotocols"] => json!([]),
        _ => return Err(Refusal::NotFound),
    };
    Ok(Json(body).into_response())
}

impl MFiles {
    /// A token without restrictions of its own.
    pub fn plain_token(
        &self,
        visit: &Visit,
        session: SessionNumber,
        vault: Option<&'static Vault>,
    ) -> Token {
        Token {
            session,
            vault,
            born: self.house.clock.now(),
            expiration: None,
            read_only: false,
            url: None,
            method: None,
            node: visit.node,
        }
    }

    /// A further token of a session.
    pub fn further_token(
        &self,
        visit: &Visit,
        session: SessionNumber,
        vault: Option<&'static Vault>,
    ) -> String {
        let value = self.house.mint.sealed(TOKEN_CHARACTERS);
        let token = self.plain_token(visit, session, vault);
        lock(&self.books).add_token(value.clone(), token);
        value
    }
}
