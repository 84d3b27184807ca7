//! How the control side talks to upstreams: one bounded, decoded answer for each request of a
//! login, a probe or a logout, or the answer of the operator's login helper.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};

use super::Place;
use super::helper::{self, Helper};
use crate::forward::coding::{self, Undecodable};
use crate::forward::inject::Injector;
use crate::login;
use crate::recipe::condition::Body;
use crate::recipe::{Addressee, Site};
use crate::secret::SecretError;
use crate::upstream::{ConnectError, Pool, RequestHead, SendError, Stage, Unreached, Wait};

/// One request of the control side and what it carries.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The request, below the upstream's URL.
    pub request: login::Request,
    /// The session that it carries; a login carries none.
    pub session: Option<&'a Injector>,
    /// Where the session's requests go, if that is not the upstream's own place.
    pub place: Option<&'a Place>,
}

/// An exchange without an answer that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The request's target is none: a space in a parameter, or a value that is too long. Nothing
    /// was sent.
    #[error("the path of the recipe's step makes no target")]
    Target,
    /// No answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The answer broke off.
    #[error("the answer broke off")]
    BrokenOff,
    /// The answer is longer than allowed.
    #[error("the answer is longer than allowed")]
    TooLong,
    /// The answer's content coding cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] Undecodable),
    /// There is no answer of the login helper.
    #[error("the login helper: {0}")]
    Helper(#[from] SecretError),
    /// There is no login helper to ask.
    #[error("there is no login helper")]
    NoHelper,
}

/// Connections of the control side to where steps go that do not go to an upstream.
pub type Sites = Vec<(Site, Pool<Full<Bytes>>)>;

/// The connections of the control side to one upstream.
#[derive(Debug)]
pub struct Transport {
    pool: Arc<Pool<Full<Bytes>>>,
    sites: Sites,
    helper: Option<Helper>,
    answer_bytes_max: usize,
}

impl Transport {
    /// Answers of more than `answer_bytes_max` decoded bytes are refused.
    pub fn new(pool: Arc<Pool<Full<Bytes>>>, answer_bytes_max: usize) -> Self {
        Self { pool, sites: Vec::new(), helper: None, answer_bytes_max }
    }

    /// The same, with connections to these, too.
    pub fn with_sites(self, sites: Sites) -> Self {
        Self { sites, ..self }
    }

    /// The same, with a login helper.
    pub fn with_helper(self, helper: Option<Helper>) -> Self {
        Self { helper, ..self }
    }

    /// Its connections.
    pub fn pool(&self) -> &Arc<Pool<Full<Bytes>>> {
        &self.pool
    }

    /// Sends one request and reads its whole answer, until `time_is_up`. The head of the answer has
    /// the upstream's `response_timeout` from when there is a connection: making one takes nothing
    /// of it.
    ///
    /// # Errors
    /// See [`ExchangeError`]. Time that is up before there was a connection is a connection that
    /// took too long: nothing was sent. Not cancel safe: the request may have been executed.
    pub async fn exchange(
        &self,
        exchange: Exchange<'_>,
        time_is_up: impl Future<Output = ()>,
    ) -> Result<login::StepAnswer, ExchangeError> {
        if let Addressee::Helper(purpose) = exchange.request.to {
            let helper = self.helper.as_ref().ok_or(ExchangeError::NoHelper)?;
            let asked = helper::Asked { purpose, values: &exchange.request.body };
            return tokio::select! {
                answer = helper.ask(asked, self.pool.origin(), self.answer_bytes_max) => answer,
                () = time_is_up => Err(SendError::Timeout.into()),
            };
        }
        let pool = match &exchange.request.to {
            Addressee::Site(to) => {
                let site = self.sites.iter().find(|(site, _)| site == to);
                &site.ok_or(ExchangeError::Target)?.1
            }
            Addressee::Upstream | Addressee::Helper(_) => {
                exchange.place.map_or(&*self.pool, |place| &place.pool)
            }
        };
        let wait = Wait::at_most(pool.origin().response_timeout);
        tokio::select! {
            answer = self.answer(pool, exchange, &wait) => answer,
            () = time_is_up => Err(match wait.stage() {
                Stage::Sent(_) => SendError::Timeout.into(),
                Stage::Before | Stage::Connecting => {
                    SendError::Unreachable(ConnectError::Timeout).into()
                }
            }),
        }
    }

    async fn answer(
        &self,
        pool: &Pool<Full<Bytes>>,
        exchange: Exchange<'_>,
        wait: &Wait,
    ) -> Result<login::StepAnswer, ExchangeError> {
        let Sent { method, target, headers, body } = request(pool, exchange)?;
        let head = RequestHead::new(&method, &target, &headers);
        let answer = pool.send(&head, Full::new(body), wait).await?;
        let body = Limited::new(answer.body, self.answer_bytes_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => ExchangeError::TooLong,
            false => ExchangeError::BrokenOff,
        })?;
        let content = coding::decode(&answer.headers, &body.to_bytes(), self.answer_bytes_max)?;
        let (status, headers) = (answer.status, answer.headers);
        Ok(login::StepAnswer { status, headers, body: Body::new(content) })
    }
}

/// A request with all that it carries.
struct Sent {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

fn request(pool: &Pool<Full<Bytes>>, exchange: Exchange<'_>) -> Result<Sent, ExchangeError> {
    let Exchange {
        request: login::Request { to, method, target: below, mut headers, body },
        session,
        ..
    } = exchange;
    let path = below.split('?').next().unwrap_or("/");
    let mut target = format!("{}{below}", pool.origin().base_path);
    if let (Some(injector), Addressee::Upstream) = (session, to) {
        injector.complete(&method, path, &mut headers);
        for pair in injector.query(&method) {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(pair);
        }
    }
    headers.insert(header::ACCEPT_ENCODING, coding::IDENTITY.clone());
    let target = Uri::try_from(target).ok().and_then(|uri| uri.into_parts().path_and_query);
    Ok(Sent { method, target: target.ok_or(ExchangeError::Target)?, headers, body })
}

impl ExchangeError {
    /// What it means that no connection was made, if none was.
    pub fn unreached(&self) -> Option<Unreached> {
        match self {
            Self::Send(error) => error.unreached(),
            _ => None,
        }
    }

    /// Whether the upstream cannot have seen the request.
    pub fn nothing_was_sent(&self) -> bool {
        match self {
            Self::Target | Self::NoHelper => true,
            // What was not started has asked nobody.
            Self::Helper(error) => matches!(error, SecretError::NotRun { .. }),
            Self::Send(error) => error.nothing_was_sent(),
            Self::BrokenOff | Self::TooLong | Self::Unreadable(_) => false,
        }
    }
}
