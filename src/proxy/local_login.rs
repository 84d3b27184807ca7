//! Between route and authenticate: the vendor's login, called by a client. Its body is the client's
//! credential; it is answered here, with a token of the client's own, and never forwarded.

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use super::authorize::Read;
use super::error::Problem;
use super::force::Serving;
use super::record::{self, Record};
use super::upload::{Upload, UploadError};
use super::{Peer, authenticate};
use crate::access::{Access, Asking, Clients, Denied, IssuedToken, LoggedIn};
use crate::fields::Fields;
use crate::forward::coding;
use crate::recipe::template::Values;
use crate::recipe::{ClientLogin, EndpointRule, LocalAnswer, Recipe};
use crate::route::Route;
use crate::shield;

/// A client's login.
pub(super) struct Login<'a> {
    pub(super) clients: &'a Clients,
    pub(super) endpoint: Endpoint<'a>,
    pub(super) asking: &'a Asking<'a>,
}

/// Where it is asked for.
#[derive(Clone, Copy)]
pub(super) struct Endpoint<'a> {
    answer: &'a LocalAnswer,
    login: &'a ClientLogin,
}

/// Whether a request is a login, at a listener whose clients have something to log in with. What
/// can be read in two ways is none, and will be refused.
pub(super) fn asked_for<'a>(
    access: &'a Access,
    read: &Result<Read<'a>, Problem>,
) -> Option<(&'a Clients, Endpoint<'a>)> {
    let Access::Clients(clients) = access else { return None };
    let Some(EndpointRule::Answer(answer)) = read.as_ref().ok()?.rule else { return None };
    let login = answer.login.as_ref()?;
    Some((clients, Endpoint { answer, login }))
}

/// Logs a client in that shows its key, and answers as the vendor does. One grant for the upstream,
/// whatever it allows, is enough. Who shows itself by its connection alone gets the placeholder.
pub(super) async fn answer(
    serving: &Serving,
    peer: &Peer,
    route: &Route,
    login: Login<'_>,
    body: Upload,
    record: &mut Record,
) -> Result<Response<Bytes>, Problem> {
    let Login { clients, endpoint: Endpoint { answer, login }, asking } = login;
    let body = read_whole(serving, body, asking.headers).await?;
    let passwords = shield::passwords(login, asking.query, asking.headers, &body);
    let log_in = || {
        let passwords = passwords.iter().map(|password| password.as_str());
        clients.log_in(asking, passwords, || serving.shared.clock.wall())
    };
    let logged_in = authenticate::judged(serving.access(peer), &serving.shared.clock, log_in).await;
    let LoggedIn { caller, token } = logged_in.map_err(|denied| match denied {
        Denied::Missing => Problem::LoginWithoutKey,
        denied => denied.into(),
    })?;
    record.let_in(Some(&caller));
    let granted = route.accounts(None).find_map(|account| {
        caller.grants.at(route.upstream, account).map(|grant| (account, Some(grant)))
    });
    record.allowed = Some(granted.ok_or(Problem::NotGranted)?);
    record.reason = record::LOGGED_IN_LOCALLY;
    let values = match token {
        Some(IssuedToken { text, ends }) => Values::of_client_login(text, ends),
        None => placeholder(serving, asking.recipe),
    };
    Ok(rendered(serving, peer, answer, &values))
}

/// An answer in the upstream's place that gives nobody a token: in open mode a login gives the
/// placeholder.
pub(super) fn answer_openly(
    serving: &Serving,
    peer: &Peer,
    recipe: &Recipe,
    answer: &LocalAnswer,
) -> Response<Bytes> {
    let values = match answer.login {
        None => Values::default(),
        Some(_) => placeholder(serving, recipe),
    };
    rendered(serving, peer, answer, &values)
}

/// What a login gives that gives no token.
fn placeholder(serving: &Serving, recipe: &Recipe) -> Values {
    let ends = serving.shared.clock.wall() + serving.in_force.limits.client_token_life;
    Values::of_client_login(recipe.placeholder.clone(), ends)
}

fn rendered(
    serving: &Serving,
    peer: &Peer,
    answer: &LocalAnswer,
    values: &Values,
) -> Response<Bytes> {
    let mut response = shield::local_answer(answer, values, serving.shared.clock.wall());
    if peer.scheme == "https" {
        shield::secure_cookies(&mut response);
    }
    response
}

/// The content of a login's body. A person's password may be in it: these copies are wiped.
async fn read_whole(
    serving: &Serving,
    mut body: Upload,
    headers: &Fields,
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let bytes_max = serving.in_force.limits.client_login_bytes_max;
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Problem::LoginTooLong);
    }
    let deadline = serving.shared.clock.now() + serving.in_force.limits.client_login_timeout;
    let mut seen = Zeroizing::new(Vec::with_capacity(bytes_max));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error {
                UploadError::TooSlow => Problem::BodyTimeout,
                UploadError::Broken(_) => Problem::BadBody,
            })?;
            let Some(data) = frame.data_ref() else { continue };
            if seen.len() + data.len() > bytes_max {
                return Err(Problem::LoginTooLong);
            }
            seen.extend_from_slice(data);
        }
        Ok(())
    };
    tokio::select! {
        read = reading => read?,
        () = serving.shared.clock.sleep_until(deadline) => return Err(Problem::BodyTimeout),
    }
    // Wiped when it is dropped, like what it is made of.
    let seen = Bytes::from_owner(seen);
    match coding::decode(headers, &seen, bytes_max) {
        Ok(content) => Ok(Zeroizing::new(content)),
        Err(coding::Undecodable::TooLong) => Err(Problem::LoginTooLong),
        Err(_) => Err(Problem::BadBody),
    }
}
