//! `/session`: cookie login, what a session is, its vault, its end.

use axum::Json;
use axum::response::IntoResponse;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::MFiles;
use super::authentication::Authentication;
use super::books::SessionNumber;
use super::caller::{Caller, Proof};
use super::refusal::Refusal;
use super::vaults::{VAULTS, Vault};
use super::visit::{Answer, Visit};
use crate::emulator::house::lock;

/// `PUT /session`: logs the visit's ASP.NET session in. No token; the session is the cookie, and
/// each vault of the answer carries a token.
pub fn log_in(site: &MFiles, visit: &Visit, body: &[u8]) -> Answer {
    let with: Authentication = serde_json::from_slice(body).map_err(|_| Refusal::BadRequest)?;
    let session = {
        let mut books = lock(&site.books);
        if !books.is_right(&with.username, &with.password) {
            site.house.tally.login_refused();
            return Err(Refusal::LoginFailed);
        }
        let session = books.open(&with);
        let vault = with.vault_guid.as_deref().and_then(Vault::by_guid);
        books.log_cookie_in(&visit.cookie, session, vault);
        session
    };
    site.house.tally.logged_in();
    Ok(described_vaults(site, visit, session))
}

/// Everything under `/session` for somebody who is logged in.
pub fn session(
    site: &MFiles,
    visit: &Visit,
    caller: &Caller,
    method: &str,
    resource: &[&str],
    body: &[u8],
) -> Answer {
    match (method, resource) {
        ("GET" | "HEAD", []) => Ok(Json(information(caller)).into_response()),
        ("DELETE", []) => log_out(site, caller),
        ("GET" | "HEAD", ["userid"]) => Ok(Json(json!({ "Value": USER_ID })).into_response()),
        ("GET" | "HEAD", ["vault"]) => {
            let vault = caller.vault.ok_or(Refusal::NoVault)?;
            Ok(Json(vault.described(None)).into_response())
        }
        ("PUT", ["vault"]) => choose_vault(site, caller, body),
        ("GET" | "HEAD", ["vaults"]) => vaults(site, visit, caller),
        ("GET" | "HEAD", ["authenticationtoken"]) => {
            let token = site.further_token(visit, session_of(site, caller), caller.vault);
            Ok(Json(json!({ "Value": token })).into_response())
        }
        (_, [] | ["userid" | "vault" | "vaults" | "authenticationtoken"]) => {
            Err(Refusal::MethodNotAllowed)
        }
        _ => Err(Refusal::NotFound),
    }
}

/// The vaults that the caller may open, each with a live token.
pub fn vaults(site: &MFiles, visit: &Visit, caller: &Caller) -> Answer {
    Ok(described_vaults(site, visit, session_of(site, caller)))
}

/// The only user id there is.
const USER_ID: u32 = 123;

fn described_vaults(
    site: &MFiles,
    visit: &Visit,
    session: SessionNumber,
) -> axum::response::Response {
    let vaults: Vec<Value> = VAULTS
        .iter()
        .map(|vault| vault.described(Some(&site.further_token(visit, session, Some(vault)))))
        .collect();
    Json(vaults).into_response()
}

/// The caller's session; name and password on each call open one where a token is asked for.
fn session_of(site: &MFiles, caller: &Caller) -> SessionNumber {
    match &caller.proof {
        Proof::Token(session) | Proof::Cookie(session, _) => *session,
        Proof::Password(password) => {
            let (username, password) = (caller.login.clone(), password.clone());
            let with = Authentication { username, password, ..Authentication::default() };
            lock(&site.books).open(&with)
        }
    }
}

fn log_out(site: &MFiles, caller: &Caller) -> Answer {
    let mut books = lock(&site.books);
    let session = match &caller.proof {
        Proof::Token(session) if books.has_id(*session) => *session,
        Proof::Cookie(session, _) => *session,
        Proof::Token(_) | Proof::Password(_) => return Err(Refusal::SessionFixed),
    };
    books.end_session(session);
    site.house.tally.logged_out();
    let status = lock(&site.switches).logout_status.code();
    if status == StatusCode::NO_CONTENT {
        return Ok(status.into_response());
    }
    Ok((status, Json(json!({ "Value": true }))).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VaultChoice {
    #[serde(rename = "GUID")]
    guid: Option<String>,
    #[serde(rename = "Name")]
    name: Option<String>,
}

fn choose_vault(site: &MFiles, caller: &Caller, body: &[u8]) -> Answer {
    let Proof::Cookie(_, cookie) = &caller.proof else { return Err(Refusal::SessionFixed) };
    let choice: VaultChoice = serde_json::from_slice(body).map_err(|_| Refusal::BadRequest)?;
    let found = match (choice.guid, choice.name) {
        (Some(guid), _) => Vault::by_guid(&guid).into_iter().collect(),
        (None, Some(name)) => Vault::by_name(&name),
        (None, None) => return Err(Refusal::BadRequest),
    };
    match found.as_slice() {
        [vault] => {
            lock(&site.books).choose_vault(cookie, vault);
            Ok(Json(vault.described(None)).into_response())
        }
        [] => Err(Refusal::NotFound),
        _ => Err(Refusal::VaultAmbiguous),
    }
}

/// The `SessionInfo` struct, as documented and as recorded.
fn information(caller: &Caller) -> Value {
    json!({
        "AccountName": caller.login,
        "FullName": caller.login,
        "LoginHint": "",
        "ACLMode": 1,
        "AuthenticationType": 3,
        "CanCreateobjects": true,
        "CanForceUndoCheckout": true,
        "CanManageCommonUISettings": true,
        "CanManageCommonViews": true,
        "CanManageTraditionalFolders": true,
        "CanMaterializeViews": true,
        "CanSeeAllObjects": true,
        "CanSeeDeletedObjects": true,
        "HasFullControlOfVault": true,
        "InternalUser": true,
        "IsAdminUser": false,
        "LicenseAllowsModifications": true,
        "UserID": USER_ID,
        "isReadOnlyLicense": false,
        "licenseString": "Named",
        "licenseType": 1,
        "Deployment": "OnPremise",
        "SerialNumber": "emulator",
        "AutomaticMetadataEnabled": false,
        "ServerVaultCapabilities": {
            "FileStreamingSupported": true,
            "WebForceSessionBasedToken": false,
        },
    })
}
