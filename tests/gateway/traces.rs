//! Trace context: passed through as it is, and with traces (feature `otlp`) each request is a span, and
//! the upstream is told of the span of what it is sent.

use doorward::emulator::Vendor;

use crate::puppet::{Puppet, Reply};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{ID}-{PARENT}-{flags}")
}

/// The values of a field in a request, as its upstream has read it.
fn values<'r>(request: &'r str, name: &str) -> Vec<&'r str> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

async fn puppet() -> Puppet {
    Puppet::logged_in(|_| Reply::json("{}")).await
}

/// Fails when trace context of a client is changed, added or taken away where there are no traces.
#[tokio::test]
async fn trace_context_passes_through() {
    let puppet = puppet().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let call = scene.call("GET", "/v3/x").header("traceparent", &traceparent("01"));
    let call =
        call.header("tracestate", "a=1").header("tracestate", "b=2").header("baggage", "c=3");
    assert_eq!(call.send().await.status, 200);
    assert_eq!(scene.call("GET", "/v3/x").send().await.status, 200);
    let [with, without] = &puppet.calls()[..] else { panic!("{:?}", puppet.calls()) };
    assert_eq!(values(with, "traceparent"), [traceparent("01")]);
    assert_eq!(values(with, "tracestate").join(","), "a=1,b=2");
    assert_eq!(values(with, "baggage"), ["c=3"]);
    for name in ["traceparent", "tracestate", "baggage"] {
        assert_eq!(values(without, name), Vec::<&str>::new());
    }
}

/// Fails when a Doorward without traces starts as if it had some.
#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn a_doorward_without_traces_says_so() {
    use crate::harness::{Setup, write};

    let scene = Setup::of(Vendor::Contentstack).start().await;
    let config = std::fs::read_to_string(scene.folder.path().join("doorward.toml")).unwrap();
    let config = format!("{config}\n[traces]\nendpoint = \"http://127.0.0.1:4318\"\n");
    write(scene.folder.path(), "doorward.toml", &config);
    let error = scene.try_start().unwrap_err().to_string();
    assert!(error.contains("feature `otlp`"), "{error}");
    scene.stop().await;
}

#[cfg(feature = "otlp")]
mod sent {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use doorward::access::key::ClientKey;
    use http::HeaderMap;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
    use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
    use prost::Message;
    use tokio::net::TcpListener;

    use super::*;
    use crate::dead_session::dead_at_first;
    use crate::harness::{Scene, Setup, until};
    use crate::leaks::leaks;
    use crate::page::counted;
    use crate::vendors::read;

    /// A collector on loopback that keeps what it is sent.
    struct Collector {
        url: String,
        spans: Arc<Mutex<Vec<Span>>>,
        bytes: Arc<Mutex<Vec<u8>>>,
        services: Arc<Mutex<Vec<String>>>,
    }

    impl Collector {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let spans = Arc::<Mutex<Vec<Span>>>::default();
            let bytes = Arc::<Mutex<Vec<u8>>>::default();
            let services = Arc::<Mutex<Vec<String>>>::default();
            let kept = (Arc::clone(&spans), Arc::clone(&bytes), Arc::clone(&services));
            let take = move |headers: HeaderMap, body: Bytes| {
                let (spans, bytes, services) = kept.clone();
                async move {
                    assert_eq!(headers["content-type"], "application/x-protobuf");
                    bytes.lock().unwrap().extend_from_slice(&body);
                    let sent = ExportTraceServiceRequest::decode(body).unwrap();
                    for resource in sent.resource_spans {
                        let resource_attributes = resource.resource.unwrap().attributes;
                        let name = resource_attributes.iter().find(|one| one.key == "service.name");
                        let name = format!("{:?}", name.unwrap().value);
                        services.lock().unwrap().push(name);
                        let all = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                        spans.lock().unwrap().extend(all);
                    }
                }
            };
            let router = Router::new().route("/v1/traces", post(take));
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            Self { url, spans, bytes, services }
        }

        fn table(&self, more: &str) -> String {
            format!("[traces]\nendpoint = {:?}\n{more}", self.url)
        }

        /// Waits until so many spans of this kind have come.
        async fn spans(&self, kind: SpanKind, count: usize) -> Vec<Span> {
            let of_kind = || {
                let spans = self.spans.lock().unwrap();
                spans.iter().filter(|span| span.kind == kind as i32).cloned().collect::<Vec<_>>()
            };
            until(&format!("{count} spans of {kind:?} have come"), || of_kind().len() >= count)
                .await;
            let spans = of_kind();
            assert_eq!(spans.len(), count, "{spans:?}");
            spans
        }
    }

    fn attributes(span: &Span) -> BTreeMap<&str, String> {
        let shown = |value: &Value| match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::BoolValue(truth) => truth.to_string(),
            other => panic!("{other:?}"),
        };
        let pair = |one: &'_ opentelemetry_proto::tonic::common::v1::KeyValue| {
            shown(one.value.as_ref().unwrap().value.as_ref().unwrap())
        };
        span.attributes.iter().map(|one| (one.key.as_str(), pair(one))).collect()
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn scene(puppet: &Puppet, collector: &Collector, more: &str) -> Scene {
        puppet.setup(Vendor::Contentstack).tables(&collector.table(more)).start().await
    }

    /// Fails when the spans of a request do not hang together, when the upstream is told of another
    /// span, or when what a span says is not what happened.
    #[tokio::test]
    async fn a_request_is_a_span_below_its_callers_and_each_sending_one_below_it() {
        let (puppet, collector) = (dead_at_first(1).await, Collector::start().await);
        // The caller has decided; the ratio is for those without one.
        let scene = scene(&puppet, &collector, "ratio = 0.0\nservice_name = \"door\"\n").await;
        let call = scene.call("PUT", "/v3/x?secret=canary-1").body("four");
        let call = call.header("traceparent", &traceparent("01")).header("tracestate", "a=1");
        assert_eq!(call.send().await.status, 200);
        let [server] = &collector.spans(SpanKind::Server, 1).await[..] else { unreachable!() };
        assert_eq!(hexadecimal(&server.trace_id), ID);
        assert_eq!(hexadecimal(&server.parent_span_id), PARENT);
        assert_eq!((server.name.as_str(), server.trace_state.as_str()), ("PUT /", "a=1"));
        let said = attributes(server);
        for (name, value) in [
            ("http.request.method", "PUT"),
            ("http.response.status_code", "200"),
            ("http.route", "/"),
            ("url.path", "/v3/x"),
            ("url.scheme", "http"),
            ("client.address", "127.0.0.1"),
            ("network.protocol.version", "1.1"),
            ("doorward.upstream", "vendor"),
            ("doorward.account", "user"),
            ("doorward.reason", "replayed"),
            ("doorward.replayed", "true"),
        ] {
            assert_eq!(said.get(name).map(String::as_str), Some(value), "{name}: {said:?}");
        }
        let sendings = collector.spans(SpanKind::Client, 2).await;
        let calls = puppet.calls();
        for (number, (span, call)) in sendings.iter().zip(&calls).enumerate() {
            assert_eq!(span.trace_id, server.trace_id);
            assert_eq!(span.parent_span_id, server.span_id);
            let told = format!("00-{ID}-{}-01", hexadecimal(&span.span_id));
            assert_eq!(values(call, "traceparent"), [told]);
            assert_eq!(values(call, "tracestate"), ["a=1"]);
            let said = attributes(span);
            let status = ["401", "200"][number];
            assert_eq!(said["http.response.status_code"], status);
            assert_eq!(said.get("error.type").map(String::as_str), ["401"].get(number).copied());
            let again = said.get("http.request.resend_count").map(String::as_str);
            assert_eq!(again, [None, Some("1")][number]);
        }
        assert!(collector.services.lock().unwrap()[0].contains("door"));
        let sent = String::from_utf8_lossy(&collector.bytes.lock().unwrap()).into_owned();
        assert!(!sent.contains("canary"), "{sent}");
    }

    /// Fails when a trace is recorded that its caller does not record, when the ratio is none, or when
    /// an upstream is not told what was decided.
    #[tokio::test]
    async fn who_is_not_recorded_is_told_on_as_such() {
        let (puppet, collector) = (puppet().await, Collector::start().await);
        let scene = scene(&puppet, &collector, "ratio = 1.0\n").await;
        let not = scene.call("GET", "/v3/a").header("traceparent", &traceparent("00"));
        assert_eq!(not.send().await.status, 200);
        let broken =
            scene.call("GET", "/v3/b").header("traceparent", "00-x").header("tracestate", "a=1");
        assert_eq!(broken.send().await.status, 200);
        let [recorded] = &collector.spans(SpanKind::Server, 1).await[..] else { unreachable!() };
        assert_eq!(attributes(recorded)["url.path"], "/v3/b");
        assert!(recorded.parent_span_id.is_empty());
        let [first, second] = &puppet.calls()[..] else { panic!() };
        let [told] = values(first, "traceparent")[..] else { panic!("{first}") };
        assert!(told.starts_with(&format!("00-{ID}-")) && told.ends_with("-00"), "{told}");
        assert!(!told.contains(PARENT), "{told}");
        let [told] = values(second, "traceparent")[..] else { panic!("{second}") };
        assert!(told.contains(&hexadecimal(&recorded.trace_id)) && told.ends_with("-01"), "{told}");
        assert_eq!(values(second, "tracestate"), Vec::<&str>::new());
    }

    /// Fails when what Doorward does for itself has no span, when a failure passes for none, or when a
    /// secret is in one.
    #[tokio::test]
    async fn logins_and_logouts_are_spans_and_no_secret_is_in_any() {
        let collector = Collector::start().await;
        let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
        let setup = Setup::of(Vendor::ThoughtSpot).keys(&[("alice", &key)]);
        let scene = setup.tables(&collector.table("")).start().await;
        let call = read(&scene).header("doorward-key", key.expose());
        assert_eq!(call.header("authorization", "Bearer canary-2").send().await.status, 200);
        let mut secrets = scene.control().issued();
        secrets.extend([key.expose().to_owned(), "canary-2".to_owned()]);
        // What is still on its way is sent before the gateway has stopped.
        scene.stop().await;
        let spans = collector.spans.lock().unwrap().clone();
        let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
        let ([login], [logout]) = (&named("login")[..], &named("logout")[..]) else {
            panic!("{spans:?}")
        };
        let said = attributes(login);
        let of = ["doorward.upstream", "doorward.account", "doorward.login.trigger"];
        assert_eq!(of.map(|name| said[name].as_str()), ["vendor", "user", "cold"]);
        assert_eq!(said["doorward.login.outcome"], "success");
        assert!(login.status.as_ref().is_none_or(|status| status.code() != StatusCode::Error));
        assert!(logout.parent_span_id.is_empty() && logout.trace_id != login.trace_id);
        let client = spans.iter().find(|span| span.kind == SpanKind::Server as i32).unwrap();
        assert_eq!(attributes(client)["doorward.client"], "alice");
        let leaked = leaks(&secrets, &collector.bytes.lock().unwrap());
        assert!(leaked.is_empty(), "{leaked:?}");
    }

    /// Fails when a collector that is not there holds a request up, or when what is missing is not told.
    #[tokio::test]
    async fn spans_that_nobody_takes_are_counted() {
        let table = "[traces]\nendpoint = \"http://127.0.0.1:9/v1/traces\"\n";
        let scene = Setup::of(Vendor::Contentstack).tables(table).start().await;
        assert_eq!(read(&scene).send().await.status, 200);
        let lost = || crate::page::sum(&scene, "doorward_trace_spans_lost_total", &[]) >= 2.0;
        until("the spans are counted as lost", lost).await;
        counted(&scene, "doorward_requests_active", &[], 0.0).await;
        scene.stop().await;
    }
}
