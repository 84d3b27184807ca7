//! Answers that Doorward gives in the upstream's place, from the recipe. They hold nothing of a
//! session: the loader lets no such value into them.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use crate::login::render;
use crate::recipe::LocalAnswer;
use crate::recipe::template::Values;

/// Renders a local answer.
pub fn local_answer(answer: &LocalAnswer, now: SystemTime) -> Response<Bytes> {
    let nothing = Values::default();
    let (content_type, body) = render::body(&answer.body, &nothing, now);
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, template) in &answer.headers {
        if let Ok(value) = HeaderValue::from_str(&template.text(&nothing, now)) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}
