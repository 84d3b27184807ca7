//! Events as spans, named and described by OpenTelemetry's semantic conventions. What events do not
//! hold comes into none: no query, no header field, no secret.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;

use crate::fields::Fields;
use crate::telemetry::trace::{self, Trace, Tracing};
use crate::telemetry::{About, Event, Login, Missing, Reader, Request, Server};

/// Spans that wait for the collector; at the bound new ones are dropped and counted.
pub(super) const WAITING_MAX: usize = 8 * 1024;

/// Spans in one batch.
const BATCH_MAX: usize = 512;

/// How long a batch gathers.
const GATHER: Duration = Duration::from_millis(500);

/// Shorter waits are no spans of their own.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Makes spans of events.
pub(super) struct Spans {
    tracing: Tracing,
    sender: mpsc::Sender<SpanData>,
    missing: Missing,
    scope: InstrumentationScope,
}

/// Sends spans until the reader is gone and all are sent, or dropped where the collector does not take
/// them.
pub(super) async fn send(
    exporter: SpanExporter,
    mut receiver: mpsc::Receiver<SpanData>,
    missing: Missing,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut is_failing = false;
    while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let count = batch.len() as u64;
        match exporter.export(std::mem::take(&mut batch)).await {
            Ok(()) => is_failing = false,
            Err(error) => {
                missing.add(count);
                // What lasts is told once.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "spans cannot be sent: traces are missing");
                }
            }
        }
        if !receiver.is_closed() && receiver.len() < BATCH_MAX {
            tokio::time::sleep(GATHER).await;
        }
    }
}

/// A span in the making.
struct Span {
    kind: SpanKind,
    name: String,
    start: SystemTime,
    took: Duration,
    attributes: Vec<KeyValue>,
    error: Option<&'static str>,
}

impl Reader for Spans {
    fn read(&mut self, at: SystemTime, event: &Event) {
        match event {
            Event::Request(request) => {
                if let Some(trace) = &request.trace {
                    self.request(at, request, trace);
                }
            }
            Event::Login(login) => self.login(at, login),
            Event::Probe { about, alive, took } => {
                let attributes = vec![KeyValue::new("doorward.session.alive", *alive)];
                self.of_session(at, "probe", about, *took, attributes, None);
            }
            Event::Refreshed { about, outcome, took } => {
                let error = outcome.is_err().then_some("refresh_failed");
                self.of_session(at, "refresh", about, *took, Vec::new(), error);
            }
            Event::Renewed { about, outcome, took } => {
                let error = outcome.is_err().then_some("renewal_failed");
                self.of_session(at, "renewal", about, *took, Vec::new(), error);
            }
            Event::Logout { about, confirmed, took } => {
                let error = (!confirmed).then_some("logout_unconfirmed");
                self.of_session(at, "logout", about, *took, Vec::new(), error);
            }
            _ => {}
        }
    }

    fn dropped(&mut self, count: u64) {
        self.missing.add(count);
    }
}

impl Spans {
    pub(super) fn new(tracing: Tracing, sender: mpsc::Sender<SpanData>, missing: Missing) -> Self {
        let scope = InstrumentationScope::builder("doorward");
        let scope = scope.with_version(env!("CARGO_PKG_VERSION")).build();
        Self { tracing, sender, missing, scope }
    }

    fn request(&self, at: SystemTime, request: &Request, trace: &Trace) {
        let start = before(at, request.took);
        let parent = trace.parent.map(|parent| (parent, true));
        self.put(trace, trace.span, parent, server(start, request));
        let own = Some((trace.span, false));
        for (number, (sending, id)) in request.sendings.iter().zip(trace.sendings).enumerate() {
            let mut attributes = vec![
                KeyValue::new("http.request.method", request.method.as_str().to_owned()),
                KeyValue::new("doorward.upstream", text(request.upstream.as_deref())),
            ];
            if let Some(Server { address, port }) = &request.server {
                attributes.push(KeyValue::new("server.address", address.to_string()));
                attributes.push(KeyValue::new("server.port", i64::from(*port)));
            }
            if number > 0 {
                attributes.push(KeyValue::new("http.request.resend_count", number as i64));
            }
            let error = match sending.outcome {
                Ok(status) => {
                    let code = i64::from(status.as_u16());
                    attributes.push(KeyValue::new("http.response.status_code", code));
                    (status.is_client_error() || status.is_server_error()).then_some("")
                }
                Err(reason) => Some(reason),
            };
            match (error, sending.outcome) {
                (Some(_), Ok(status)) => {
                    attributes.push(KeyValue::new("error.type", status.as_str().to_owned()));
                }
                (Some(reason), Err(_)) => attributes.push(KeyValue::new("error.type", reason)),
                (None, _) => {}
            }
            let span = Span {
                kind: SpanKind::Client,
                name: request.method.as_str().to_owned(),
                start: start + sending.after,
                took: sending.took,
                attributes,
                error,
            };
            self.put(trace, id, own, span);
        }
        let waited = request.waited.unwrap_or_default();
        let first = request.sendings.iter().next();
        let session = first.map_or(Duration::ZERO, |first| first.after.saturating_sub(waited));
        for (name, after, took) in
            [("wait for turn", Duration::ZERO, waited), ("wait for session", waited, session)]
        {
            if took < WAIT_MIN {
                continue;
            }
            let Some(own_trace) = self.tracing.begin(&Fields::new()) else { continue };
            let span = Span {
                kind: SpanKind::Internal,
                name: name.to_owned(),
                start: start + after,
                took,
                attributes: Vec::new(),
                error: None,
            };
            self.put(trace, own_trace.span, own, span);
        }
    }

    fn login(&self, at: SystemTime, login: &Login) {
        let about = About {
            upstream: login.upstream.clone(),
            account: login.account.clone(),
            generation: *login.outcome.as_ref().unwrap_or(&0),
        };
        let attributes = vec![
            KeyValue::new("doorward.login.trigger", login.trigger.as_str()),
            KeyValue::new("doorward.login.outcome", login.word),
        ];
        let error = login.outcome.is_err().then_some(login.word);
        self.of_session(at, "login", &about, login.took, attributes, error);
    }

    /// What Doorward does for itself begins a trace of its own.
    fn of_session(
        &self,
        at: SystemTime,
        name: &'static str,
        about: &About,
        took: Duration,
        mut attributes: Vec<KeyValue>,
        error: Option<&'static str>,
    ) {
        let Some(trace) = self.tracing.root() else { return };
        attributes.extend([
            KeyValue::new("doorward.upstream", about.upstream.to_string()),
            KeyValue::new("doorward.account", about.account.to_string()),
            KeyValue::new("doorward.session.generation", about.generation as i64),
        ]);
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        let start = before(at, took);
        let name = name.to_owned();
        let span = Span { kind: SpanKind::Internal, name, start, took, attributes, error };
        self.put(&trace, trace.span, None, span);
    }

    fn put(
        &self,
        trace: &Trace,
        id: trace::SpanId,
        parent: Option<(trace::SpanId, bool)>,
        span: Span,
    ) {
        let state = trace.state.as_deref().and_then(|state| state.parse().ok());
        let data = SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(trace.id.0),
                SpanId::from_bytes(id.0),
                TraceFlags::SAMPLED,
                false,
                state.unwrap_or_default(),
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, |(id, _)| SpanId::from_bytes(id.0)),
            parent_span_is_remote: parent.is_some_and(|(_, is_remote)| is_remote),
            span_kind: span.kind,
            name: span.name.into(),
            start_time: span.start,
            end_time: span.start + span.took,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: match span.error {
                Some(error) => Status::error(error),
                None => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        };
        if self.sender.try_send(data).is_err() {
            self.missing.add(1);
        }
    }
}

/// The span of a client's request.
fn server(start: SystemTime, request: &Request) -> Span {
    let method = request.method.as_str();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("url.scheme", request.scheme),
        KeyValue::new("url.path", request.path.clone()),
        KeyValue::new("network.protocol.version", version(request.protocol)),
        KeyValue::new("http.response.status_code", i64::from(request.status.as_u16())),
        KeyValue::new("doorward.reason", request.reason),
        KeyValue::new("doorward.decision", request.decision.as_str()),
        KeyValue::new("doorward.request_id", request.id.to_string()),
    ];
    let mut put = |name: &'static str, value: Option<&str>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
    };
    put("http.route", request.route.as_deref());
    put("doorward.client", request.client());
    put("doorward.upstream", request.upstream.as_deref());
    put("doorward.account", request.account.as_deref());
    let peer = request.peer.map(|peer| peer.to_string());
    put("client.address", peer.as_deref());
    if let Some(generation) = request.generation {
        attributes.push(KeyValue::new("doorward.session.generation", generation as i64));
        attributes.push(KeyValue::new("doorward.replayed", request.replayed));
    }
    // For a server a 4xx is the client's own fault.
    let error = request.status.is_server_error().then_some(request.reason);
    if let Some(reason) = error {
        let error = match reason {
            // The upstream's own, passed on.
            "forwarded" | "replayed" => request.status.as_str(),
            reason => reason,
        };
        attributes.push(KeyValue::new("error.type", error.to_owned()));
    }
    let name = match &request.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let took = request.took;
    Span { kind: SpanKind::Server, name, start, took, attributes, error }
}

fn version(protocol: &'static str) -> &'static str {
    match protocol.strip_prefix("HTTP/") {
        Some("2.0") => "2",
        Some("3.0") => "3",
        Some(version) => version,
        None => protocol,
    }
}

fn before(at: SystemTime, took: Duration) -> SystemTime {
    at.checked_sub(took).unwrap_or(at)
}

fn text(name: Option<&str>) -> String {
    name.unwrap_or_default().to_owned()
}
