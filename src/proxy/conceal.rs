//! What of a session stands in an answer's body is replaced: at endpoints that the recipe marks in
//! the JSON, everywhere else by a search for the values themselves.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::error::Problem;
use super::force::Serving;
use super::inspect::{Extent, Looked};
use crate::clock::Moment;
use crate::fields::{self, Fields};
use crate::forward::coding::{self, Coding, Decoder, Undecodable};
use crate::forward::grpc::Messages;
use crate::recipe::pattern::Pointer;
use crate::session::SearchBodies;
use crate::shield::{self, MaskError, Redactor};
use crate::telemetry::Decoded;

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
    /// Until when what is masked may be read.
    pub(super) deadline: Moment,
    /// How long that may take at least.
    pub(super) reading_time: Duration,
}

/// What was concealed.
#[derive(Debug, Default)]
pub(super) struct Concealed {
    /// How many stretches were replaced so far.
    pub(super) redacted: u64,
    pub(super) decoded: Option<Decoded>,
}

impl Concealment<'_> {
    /// Conceals what has been read of an answer, reads what has to be read whole for that, and says what the
    /// rest has to go through.
    ///
    /// # Errors
    /// When the answer cannot be searched, or broke off.
    pub(super) async fn apply(
        self,
        serving: &Serving,
        answer: &mut Looked,
    ) -> Result<Concealed, Problem> {
        let mut concealed = Concealed::default();
        if let Some(pointers) = self.pointers {
            // Boxed: few answers need the room.
            Box::pin(self.mask(serving, answer, pointers, &mut concealed)).await?;
        }
        // Under `decode` the upstream may have chosen a coding that the client does not take.
        let is_needless = self.redactor.secrets().is_empty() && self.search != SearchBodies::Decode;
        if self.search == SearchBodies::Off || is_needless {
            // A checksum of what was masked would tell of it.
            answer.body.filters.behind = Some(self.redactor).filter(|_| self.pointers.is_none());
            return Ok(concealed);
        }
        if is_part(answer) {
            return Err(Problem::AnswerWithheld);
        }
        if answer.headers.contains(header::ACCEPT_RANGES) {
            // None would reach the upstream.
            answer.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
        }
        if coding::is_coded(&answer.headers) {
            decode(serving, answer, &mut concealed)?;
        }
        if answer.extent != Extent::Whole {
            // Its head leaves before anybody knows what is in it: its tag stays, which is for what
            // the upstream has; so do its checksums, which then say that something is missing.
            answer.body.filters.redactor = Some(self.redactor);
            answer.body.filters.messages = Messages::of(&answer.headers);
            return Ok(concealed);
        }
        if let Some((body, count)) = shield::redact(self.redactor.secrets(), &answer.body.seen) {
            answer.body.seen = body;
            is_changed(&mut answer.headers);
            concealed.redacted = count;
        }
        answer.body.filters.behind = Some(self.redactor).filter(|_| self.pointers.is_none());
        Ok(concealed)
    }

    async fn mask(
        &self,
        serving: &Serving,
        answer: &mut Looked,
        pointers: &[Pointer],
        concealed: &mut Concealed,
    ) -> Result<(), Problem> {
        let Some(content) = self.content(serving, answer).await? else {
            // Nobody knows what the content would be like (RFC 9110 section 8.6).
            coding::describe_decoded(&mut answer.headers);
            is_changed(&mut answer.headers);
            return Ok(());
        };
        if let Ok(codings) = coding::codings(&answer.headers)
            && !codings.is_empty()
        {
            concealed.decoded = Some(decoded(&codings, answer.body.seen.len()));
        }
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

    /// The whole content of an answer; nothing where there is none, as in answers to HEAD.
    async fn content(
        &self,
        serving: &Serving,
        answer: &mut Looked,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let bytes_max = serving.in_force.limits.mask_body_bytes_max;
        let clock = &serving.shared.clock;
        let deadline = self.deadline.max(clock.now() + self.reading_time);
        answer.read(bytes_max, clock, deadline).await;
        match answer.extent {
            Extent::Whole if answer.body.seen.is_empty() => return Ok(None),
            Extent::Whole => {}
            Extent::BrokenOff => return Err(Problem::UpstreamBroken),
            Extent::Part => return Err(Problem::AnswerWithheld),
        }
        let content = coding::decode(&answer.headers, &answer.body.seen, bytes_max);
        content.map(Some).map_err(|_| Problem::AnswerWithheld)
    }
}

/// Whether it is a part of a body that nobody asked for. A value that begins or ends in another part
/// would not be found. What has no range of bytes only borrows the status, as of a long list.
fn is_part(answer: &Looked) -> bool {
    let begins = |name: HeaderName, with: &[u8]| {
        let value = answer.headers.get(name).unwrap_or_default();
        value.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with))
    };
    answer.status == StatusCode::PARTIAL_CONTENT
        && (begins(header::CONTENT_RANGE, b"bytes")
            || begins(header::CONTENT_TYPE, b"multipart/byteranges"))
}

/// Takes the codings off an answer: of what has been read whole at once, within the same bound as
/// what is masked, of any other as it streams.
fn decode(
    serving: &Serving,
    answer: &mut Looked,
    concealed: &mut Concealed,
) -> Result<(), Problem> {
    let codings = coding::codings(&answer.headers).map_err(|_| Problem::AnswerWithheld)?;
    if answer.extent == Extent::Whole {
        let bytes_max = serving.in_force.limits.mask_body_bytes_max;
        let content = match coding::decode(&answer.headers, &answer.body.seen, bytes_max) {
            // As in answers to HEAD: there is nothing to decode, and nobody knows its length.
            Ok(content) if content.is_empty() => None,
            Ok(content) => Some(content),
            Err(Undecodable::TooLong) => {
                answer.extent = Extent::Part;
                None
            }
            Err(_) => return Err(Problem::AnswerWithheld),
        };
        if let Some(content) = content {
            concealed.decoded = Some(decoded(&codings, answer.body.seen.len()));
            put(answer, content);
            return Ok(());
        }
    }
    coding::describe_decoded(&mut answer.headers);
    is_changed(&mut answer.headers);
    if answer.extent == Extent::Whole {
        answer.body.seen = Bytes::new();
    } else {
        concealed.decoded = Some(decoded(&codings, 0));
        answer.body.filters.decoder = Some(Box::new(Decoder::new(&codings)));
    }
    Ok(())
}

fn decoded(codings: &[Coding], coded_bytes: usize) -> Decoded {
    let names: Vec<_> = codings.iter().map(|coding| coding.as_str()).collect();
    Decoded { codings: names.join(", ").into(), coded_bytes: coded_bytes as u64 }
}

/// Makes `content` the answer's body.
fn put(answer: &mut Looked, content: Vec<u8>) {
    answer.body.seen = Bytes::from(content);
    coding::describe_identity(&mut answer.headers, &answer.body.seen);
    is_changed(&mut answer.headers);
}

/// The bytes are not those that the tag and the checksums are for (RFC 9110 section 8.8.1).
fn is_changed(headers: &mut Fields) {
    for digest in &DIGESTS {
        headers.remove(digest);
    }
    let strong = headers.get(header::ETAG).filter(|tag| !tag.starts_with(b"W/"));
    let weak =
        strong.and_then(|tag| HeaderValue::from_str(&format!("W/{}", fields::text(tag)?)).ok());
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}
