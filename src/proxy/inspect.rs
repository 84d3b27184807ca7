//! A bounded look at an answer's body: what was looked at is passed on in front of the rest.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;

use super::stream::Stream;
use super::upload::Upload;
use crate::clock::{Clock, Moment};
use crate::fields::Fields;
use crate::forward::coding;
use crate::forward::replay::Sending;
use crate::forward::verdict::{self, Verdict};
use crate::recipe::Recipe;
use crate::recipe::condition::{Answer, Body};
use crate::route::Reading;
use crate::upstream;

/// An answer of which a part may have been looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: Fields,
    /// The head as it came, where it is known.
    pub(super) head_bytes: Option<Bytes>,
    /// How the reading ended.
    pub(super) extent: Extent,
    /// The body, with what was read of it: in its place from the head on, to the client.
    pub(super) body: Box<Stream>,
    /// What the upstream's side of the connection becomes, if it switches protocols.
    pub(super) upgrade: Option<OnUpgrade>,
}

/// How much of a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// A part; the rest follows.
    Part,
    /// All.
    Whole,
    /// It broke off: nothing of it may be passed on as if it were whole.
    BrokenOff,
}

impl Looked {
    pub(super) fn not_yet(answer: upstream::Answer<Sending<Upload>>) -> Self {
        let upstream::Answer { status, version, headers, head_bytes, body, upgrade } = answer;
        let extent = if body.is_end_stream() { Extent::Whole } else { Extent::Part };
        let body = Box::new(Stream::new(body));
        Self { status, version, headers, head_bytes, extent, body, upgrade }
    }

    /// Judges the answer, with a look at up to `bytes_max` bytes of its body where the recipe asks
    /// for one.
    pub(super) async fn judge(
        &mut self,
        recipe: &Recipe,
        reading: &Reading,
        bytes_max: usize,
        clock: &Clock,
        deadline: Moment,
    ) -> Verdict {
        let verdict = verdict::judge(recipe, &self.seen_as(reading, None));
        if verdict != Verdict::NeedsBody {
            return verdict;
        }
        // Boxed: few answers need the room.
        Box::pin(self.read(bytes_max, clock, deadline)).await;
        // A body that cannot be decoded has no values; the rules then decide by its head.
        let content = coding::decode_beginning(&self.headers, &self.body.seen, bytes_max);
        let body = Body::new(content.unwrap_or_default());
        verdict::judge(recipe, &self.seen_as(reading, Some(&body)))
    }

    /// Reads until there is nothing more, more than `bytes_max`, or the deadline has come.
    pub(super) async fn read(&mut self, bytes_max: usize, clock: &Clock, deadline: Moment) {
        let Stream { seen: before, rest, trailers, .. } = &mut *self.body;
        let mut seen = BytesMut::from(&before[..]);
        let reading = async {
            while seen.len() <= bytes_max {
                match rest.frame().await {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) => seen.extend_from_slice(&chunk),
                        Err(frame) => *trailers = frame.into_trailers().ok(),
                    },
                    Some(Err(_)) => return Extent::BrokenOff,
                    None => return Extent::Whole,
                }
            }
            Extent::Part
        };
        self.extent = tokio::select! {
            extent = reading => extent,
            () = clock.sleep_until(deadline) => Extent::Part,
        };
        *before = seen.freeze();
    }

    fn seen_as<'a>(&'a self, reading: &'a Reading, body: Option<&'a Body>) -> Answer<'a> {
        Answer {
            method: &reading.method,
            path: &reading.path,
            status: self.status,
            headers: &self.headers,
            body,
        }
    }
}
