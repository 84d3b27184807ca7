//! The collector: OTLP over HTTP by OpenTelemetry's own library, sent over our own connections.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;

use super::TracesError;
use crate::app::outgoing;
use crate::settings::{Scheme, Traces};
use crate::upstream::{Pool, RequestHead, Wait};

/// How long the collector may take for one batch.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a batch is sent again that the collector has not taken; spans are not worth a long queue.
const RETRIES_MAX: usize = 2;

/// How long after the first try; twice as long after the second.
const RETRY_FIRST: Duration = Duration::from_millis(200);

/// More of what it answers is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What sends batches of spans.
///
/// # Errors
/// When its URL or its certificate's authorities cannot be used.
pub(super) fn exporter(written: &Traces) -> Result<SpanExporter, TracesError> {
    let at = &written.endpoint;
    let tls = match at.origin.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(outgoing::client(&at.origin.host, written.ca_file.as_deref())?),
    };
    let origin = outgoing::origin(&at.origin, tls, SEND_TIME_MAX);
    let origin = origin.ok_or_else(|| TracesError::Endpoint("its host is no name".to_owned()))?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client(Pool::new(Arc::new(origin))))
        .with_endpoint(format!("{}{}", at.origin, at.target))
        .with_timeout(SEND_TIME_MAX)
        .with_retry_policy(
            RetryPolicy::default().with_max_retries(RETRIES_MAX).with_initial_delay(RETRY_FIRST),
        )
        .build()
        .map_err(|error| TracesError::Endpoint(error.to_string()))?;
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", written.service_name.clone()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ]);
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

/// Our own connections to the collector.
#[derive(Debug)]
struct Client(Pool<Full<Bytes>>);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().cloned().ok_or("no path")?;
        head.headers.insert(
            header::USER_AGENT,
            header::HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION"))),
        );
        head.headers.remove(header::HOST);
        head.headers.remove(header::CONTENT_LENGTH);
        let asked = RequestHead::new(&head.method, &target, &head.headers);
        let wait = Wait::for_the_caller();
        let sending = async {
            let answer = self.0.send(&asked, Full::new(body), &wait).await?;
            let body = Limited::new(answer.body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            let mut response = Response::new(body);
            (*response.status_mut(), *response.headers_mut()) =
                (answer.status, answer.headers.into());
            Ok(response)
        };
        tokio::time::timeout(SEND_TIME_MAX, sending).await?
    }
}
