//! Answers that a test forces.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer};

use super::house::lock;

/// So many forced answers may wait at once; more are refused.
const FORCED_MAX: usize = 256;

/// What the next matching requests get. Each field that is left at its default changes nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forced {
    /// A part of `METHOD /path?query`; empty matches every request.
    pub matching: String,
    /// How many requests it is for.
    pub times: u32,
    /// With a status the request is **not executed** and gets this answer. Without one it is
    /// executed and the real answer is delayed or lost.
    pub status: Option<u16>,
    /// Headers of the forced answer; only with a status.
    pub headers: Vec<(String, String)>,
    /// Body of the forced answer; only with a status.
    pub body: String,
    /// How long the answer is kept back, on the emulator's clock; JSON calls it `delay_ms`.
    #[serde(rename = "delay_ms", deserialize_with = "milliseconds")]
    pub delay: Duration,
    /// The connection is reset where the answer would have been sent: without a status, a
    /// request that was executed and whose answer is lost. On HTTP/2 it is the stream.
    pub reset: bool,
}

impl Default for Forced {
    fn default() -> Self {
        Self {
            matching: String::new(),
            times: 1,
            status: None,
            headers: Vec::new(),
            body: String::new(),
            delay: Duration::ZERO,
            reset: false,
        }
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}

/// Why an answer cannot be forced.
#[derive(Debug, thiserror::Error)]
pub enum ForcedError {
    /// The status is not one.
    #[error("{0} is no HTTP status")]
    Status(u16),
    /// A header cannot be sent.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// The list is full.
    #[error("{FORCED_MAX} forced answers are waiting already")]
    Full,
}

/// Forced answers that still wait for their requests, oldest first.
#[derive(Debug, Default)]
pub struct ForcedAnswers(Mutex<Vec<Forced>>);

impl ForcedAnswers {
    pub fn add(&self, forced: Forced) -> Result<(), ForcedError> {
        forced.answer()?;
        let mut waiting = lock(&self.0);
        if waiting.len() >= FORCED_MAX {
            return Err(ForcedError::Full);
        }
        waiting.push(forced);
        Ok(())
    }

    /// What this request is to get, if anything; uses one of its times up.
    pub fn take(&self, line: &str) -> Option<Forced> {
        let mut waiting = lock(&self.0);
        waiting.retain(|forced| forced.times > 0);
        let forced = waiting.iter_mut().find(|forced| line.contains(&forced.matching))?;
        forced.times -= 1;
        Some(forced.clone())
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl Forced {
    /// The forced answer, or none where the real one is to be sent.
    pub fn answer(&self) -> Result<Option<Response>, ForcedError> {
        let Some(status) = self.status else { return Ok(None) };
        let code = StatusCode::from_u16(status).map_err(|_| ForcedError::Status(status))?;
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = code;
        for (name, value) in &self.headers {
            let unsendable = || ForcedError::Header(name.clone());
            let header = HeaderName::try_from(name.as_str()).map_err(|_| unsendable())?;
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| unsendable())?;
            response.headers_mut().append(header, value);
        }
        Ok(Some(response))
    }
}
