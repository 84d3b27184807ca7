//! Which trace a request belongs to (W3C Trace Context), and whether its spans are recorded: as its
//! caller has decided, else one in so many.

use std::fmt::{self, Write};

use http::{HeaderName, HeaderValue};

use crate::fields::{self, Fields};

/// The field that tells a trace and the caller's span.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The field in which vendors of traces tell their own.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A request is sent to its upstream at most so often, each time as a span of its own.
const SENDINGS_MAX: usize = 2;

/// The bit that says that the caller records its span.
const SAMPLED: u8 = 1;

/// More of a `tracestate` is not kept with a span (W3C Trace Context section 3.3.1.5: at least 512
/// characters are passed on; what passes on is the client's own field).
const STATE_BYTES_MAX: usize = 512;

/// How traces are begun.
#[derive(Clone, Copy, Debug)]
pub struct Tracing {
    /// Of traces that begin here, those are recorded whose random number is below.
    below: u128,
}

/// A trace's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A span's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// The place of a request in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The span of the request.
    pub span: SpanId,
    /// The caller's span.
    pub parent: Option<SpanId>,
    /// What vendors have told of the trace.
    pub state: Option<Box<str>>,
    /// Whether spans are recorded.
    pub is_sampled: bool,
    /// The spans of what is sent to the upstream.
    pub sendings: [SpanId; SENDINGS_MAX],
}

impl Tracing {
    /// Records this part of the traces that begin here; 1 is all of them.
    pub fn new(ratio: f64) -> Self {
        // The whole range of a random number of 64 bits.
        let range = 2_f64.powi(64);
        Self { below: (ratio.clamp(0.0, 1.0) * range) as u128 }
    }

    /// The place of a request with these fields. Nothing where the machine gives no random numbers.
    pub fn begin(&self, headers: &Fields) -> Option<Trace> {
        let caller = caller(headers);
        let mut random = [0; 40];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let ([id, spans @ ..], _) = random.as_chunks::<8>() else { return None };
        let [rest, span, first, second] = spans.first_chunk()?;
        let own = TraceId([*id, *rest].as_flattened().try_into().ok()?);
        let is_sampled = match caller {
            Some((_, _, flags)) => flags & SAMPLED != 0,
            None => u128::from(u64::from_be_bytes(*rest)) < self.below,
        };
        let state = caller.and_then(|_| state(headers));
        Some(Trace {
            id: caller.map_or(own, |(id, ..)| id),
            span: SpanId(*span),
            parent: caller.map(|(_, parent, _)| parent),
            state,
            is_sampled,
            sendings: [SpanId(*first), SpanId(*second)],
        })
    }

    /// A trace that begins here, with one span; nothing where it is not recorded.
    pub fn root(&self) -> Option<Trace> {
        self.begin(&Fields::new()).filter(|trace| trace.is_sampled)
    }
}

impl Trace {
    /// What an upstream is told: the trace, and the span of this sending.
    pub fn traceparent(&self, sending: usize) -> Option<HeaderValue> {
        let span = self.sendings.get(sending)?;
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        HeaderValue::try_from(format!("00-{}-{span}-{flags:02x}", self.id)).ok()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, out)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, out)
    }
}

fn hexadecimal(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// The trace and the span that the caller tells, and its flags. A field that is not as it should be,
/// or that is there twice, tells nothing (W3C Trace Context section 4.3).
fn caller(headers: &Fields) -> Option<(TraceId, SpanId, u8)> {
    let mut values = headers.get_all(&TRACEPARENT);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let mut parts = fields::text(value)?.split('-');
    let [version] = bytes(parts.next()?)?;
    let id = TraceId(bytes(parts.next()?)?);
    let span = SpanId(bytes(parts.next()?)?);
    let [flags] = bytes(parts.next()?)?;
    // Later versions may say more behind.
    let is_whole = version != 0xff && (version != 0 || parts.next().is_none());
    let is_valid = id.0 != [0; 16] && span.0 != [0; 8];
    (is_whole && is_valid).then_some((id, span, flags))
}

/// The bytes of a text of small hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_small = text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    let digits = text.as_bytes().as_chunks::<2>();
    if !is_small || text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(digits.0) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// What vendors have told, in one text.
fn state(headers: &Fields) -> Option<Box<str>> {
    let mut all = String::new();
    for value in headers.get_all(&TRACESTATE) {
        let separator = if all.is_empty() { "" } else { "," };
        // Writing to a text cannot fail.
        _ = write!(all, "{separator}{}", fields::text(value)?);
    }
    (!all.is_empty() && all.len() <= STATE_BYTES_MAX).then(|| all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn with(fields: &[(&'static str, &str)]) -> Fields {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = Fields::new();
        fields.iter().map(pair).for_each(|(name, value)| headers.append(name, value));
        headers
    }

    #[test]
    fn a_caller_that_tells_its_trace_decides() {
        let tracing = Tracing::new(0.0);
        let parent = format!("00-{ID}-{SPAN}-01");
        let headers =
            with(&[("traceparent", &parent), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let trace = tracing.begin(&headers).unwrap();
        assert_eq!((trace.id.to_string(), trace.is_sampled), (ID.to_owned(), true));
        assert_eq!(trace.parent.unwrap().to_string(), SPAN);
        assert_eq!(trace.state.as_deref(), Some("a=1,b=2"));
        let told = trace.traceparent(0).unwrap();
        let second = trace.traceparent(1).unwrap();
        assert_eq!(told, format!("00-{ID}-{}-01", trace.sendings[0]).as_str());
        assert!(told != second && trace.span != trace.sendings[0]);
        let not = with(&[("traceparent", &format!("00-{ID}-{SPAN}-00"))]);
        let trace = Tracing::new(1.0).begin(&not).unwrap();
        assert!(
            !trace.is_sampled && trace.traceparent(0).unwrap().to_str().unwrap().ends_with("-00")
        );
        // A later version may say more.
        let later = with(&[("traceparent", &format!("01-{ID}-{SPAN}-01-more"))]);
        assert_eq!(tracing.begin(&later).unwrap().id.to_string(), ID);
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace() {
        let tracing = Tracing::new(1.0);
        for wrong in [
            "",
            "00",
            &format!("00-{ID}-{SPAN}"),
            &format!("00-{ID}-{SPAN}-01-more"),
            &format!("ff-{ID}-{SPAN}-01"),
            &format!("00-{}-{SPAN}-01", ID.to_uppercase()),
            &format!("00-{}-{SPAN}-01", "0".repeat(32)),
            &format!("00-{ID}-{}-01", "0".repeat(16)),
            &format!("00-{ID}0-{SPAN}-01"),
            &format!("00-+{}-{SPAN}-01", &ID[1..]),
        ] {
            let headers = with(&[("traceparent", wrong), ("tracestate", "a=1")]);
            let trace = tracing.begin(&headers).unwrap();
            assert_eq!((trace.parent, &trace.state), (None, &None), "{wrong}");
            assert!(trace.is_sampled && trace.id.to_string() != ID, "{wrong}");
        }
        let parent = format!("00-{ID}-{SPAN}-01");
        let twice = with(&[("traceparent", &parent), ("traceparent", &parent)]);
        assert_eq!(tracing.begin(&twice).unwrap().parent, None);
    }

    #[test]
    fn the_ratio_is_kept() {
        let sampled = |ratio| {
            let tracing = Tracing::new(ratio);
            (0..2000).filter(|_| tracing.root().is_some()).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 2000));
        let quarter = sampled(0.25);
        assert!((350..650).contains(&quarter), "{quarter}");
    }
}
