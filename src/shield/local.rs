//! Answers that Doorward gives in the upstream's place, from the recipe. They hold nothing of a
//! session: the loader lets no such value into them.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use crate::login::render::{self, header_value};
use crate::recipe::LocalAnswer;
use crate::recipe::template::Values;

/// Renders a local answer with what the client that gets it shows from now on.
pub fn local_answer(answer: &LocalAnswer, client: &Values, now: SystemTime) -> Response<Bytes> {
    let (content_type, body) = render::body(&answer.body, client, now);
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if let Some(content_type) = content_type.and_then(|text| HeaderValue::try_from(&*text).ok()) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    for (name, template) in &answer.headers {
        if let Some(value) = header_value(&template.text(client, now)) {
            headers.insert(name.clone(), value);
        }
    }
    for template in &answer.set_cookies {
        if let Some(value) = header_value(&template.text(client, now)) {
            headers.append(header::SET_COOKIE, value);
        }
    }
    response
}

/// Has clients send the cookies of an answer over TLS only (RFC 6265 section 5.2.5).
pub fn secure_cookies(answer: &mut Response<Bytes>) {
    let header::Entry::Occupied(mut cookies) = answer.headers_mut().entry(header::SET_COOKIE)
    else {
        return;
    };
    for cookie in cookies.iter_mut() {
        let text = cookie.to_str().unwrap_or_default();
        let mut attributes = text.split(';').skip(1);
        if !attributes.any(|attribute| attribute.trim().eq_ignore_ascii_case("secure"))
            && let Some(secure) = header_value(&format!("{text}; Secure"))
        {
            *cookie = secure;
        }
    }
}
