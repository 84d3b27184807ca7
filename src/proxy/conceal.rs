//! What of a session stands in an answer's body is replaced: at endpoints that the recipe marks in
//! the JSON, everywhere else by a search for the values themselves.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Shared;
use super::error::Problem;
use super::inspect::{Extent, Looked};
use crate::clock::Moment;
use crate::forward::coding;
use crate::recipe::pattern::Pointer;
use crate::session::SearchBodies;
use crate::shield::{self, MaskError, Redactor};

/// Checksums of what the upstream sent (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// What may not be shown of a body, and how it is hidden.
pub(super) struct Concealment<'a> {
    pub(super) redactor: Redactor,
    pub(super) search: SearchBodies,
    /// Where the recipe says that session values stand.
    pub(super) pointers: Option<&'a [Pointer]>,
    pub(super) placeholder: &'a str,
    pub(super) deadline: Moment,
}

impl Concealment<'_> {
    /// Conceals what has been read of an answer, and reads what has to be read whole for that.
    /// Returns what the rest goes through, and how often something was replaced.
    ///
    /// # Errors
    /// When the answer cannot be searched, or broke off.
    pub(super) async fn apply(
        self,
        shared: &Shared,
        answer: &mut Looked,
    ) -> Result<(Option<Redactor>, u64), Problem> {
        if let Some(pointers) = self.pointers {
            self.mask(shared, answer, pointers).await?;
        }
        if self.search == SearchBodies::Off || self.redactor.secrets().is_empty() {
            return Ok((None, 0));
        }
        if answer.headers.contains_key(header::ACCEPT_RANGES) {
            // None would reach the upstream.
            answer.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
        }
        if coding::is_coded(&answer.headers) {
            self.decode(shared, answer).await?;
        }
        if answer.extent != Extent::Whole {
            // Its head leaves before anybody knows what is in it: its tag stays, which is for what
            // the upstream has; so do its checksums, which then say that something is missing.
            return Ok((Some(self.redactor), 0));
        }
        let Some((body, count)) = shield::redact(self.redactor.secrets(), &answer.seen) else {
            return Ok((None, 0));
        };
        answer.seen = body;
        is_changed(&mut answer.headers);
        Ok((None, count))
    }

    async fn mask(
        &self,
        shared: &Shared,
        answer: &mut Looked,
        pointers: &[Pointer],
    ) -> Result<(), Problem> {
        let Some(content) = self.content(shared, answer).await? else { return Ok(()) };
        let content =
            match shield::mask(&content, pointers, self.redactor.secrets(), self.placeholder) {
                Ok(masked) => masked,
                // An error page has no values where the pointers say.
                Err(MaskError::NotJson) if !answer.status.is_success() => content,
                Err(MaskError::NotJson | MaskError::Opaque) => return Err(Problem::AnswerWithheld),
            };
        put(answer, content);
        Ok(())
    }

    async fn decode(&self, shared: &Shared, answer: &mut Looked) -> Result<(), Problem> {
        if let Some(content) = self.content(shared, answer).await? {
            put(answer, content);
        }
        Ok(())
    }

    /// The whole content of an answer; nothing where there is none, as in answers to HEAD.
    async fn content(
        &self,
        shared: &Shared,
        answer: &mut Looked,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let bytes_max = shared.limits.mask_body_bytes_max;
        answer.read(bytes_max, &shared.clock, self.deadline).await;
        match answer.extent {
            Extent::Whole if answer.seen.is_empty() => return Ok(None),
            Extent::Whole => {}
            Extent::BrokenOff => return Err(Problem::UpstreamBroken),
            Extent::Part => return Err(Problem::AnswerWithheld),
        }
        let content = coding::decode(&answer.headers, &answer.seen, bytes_max);
        content.map(Some).map_err(|_| Problem::AnswerWithheld)
    }
}

/// Makes `content` the answer's body.
fn put(answer: &mut Looked, content: Vec<u8>) {
    answer.seen = Bytes::from(content);
    coding::describe_identity(&mut answer.headers, &answer.seen);
    is_changed(&mut answer.headers);
}

/// The bytes are not those that the tag and the checksums are for (RFC 9110 section 8.8.1).
fn is_changed(headers: &mut HeaderMap) {
    for digest in &DIGESTS {
        headers.remove(digest);
    }
    let strong = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    let weak =
        strong.and_then(|tag| HeaderValue::from_str(&format!("W/{}", tag.to_str().ok()?)).ok());
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}
