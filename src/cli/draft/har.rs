//! A login as a HAR file, as browsers' developer tools save it (HTTP Archive 1.2).

use serde::Deserialize;

use super::{Answer, Body, DraftError, Exchange};

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Pair>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default)]
    text: String,
    #[serde(default)]
    params: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    headers: Vec<Pair>,
    #[serde(default)]
    content: Content,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
    #[serde(default)]
    encoding: String,
}

/// All exchanges, in order.
pub(super) fn read(text: &str) -> Result<Vec<Exchange>, DraftError> {
    let archive: Archive = serde_json::from_str(text).map_err(DraftError::Archive)?;
    Ok(archive.log.entries.into_iter().map(exchange).collect())
}

fn pairs(pairs: Vec<Pair>) -> Vec<(String, String)> {
    pairs.into_iter().map(|Pair { name, value }| (name, value)).collect()
}

fn exchange(entry: Entry) -> Exchange {
    let Entry { request, response } = entry;
    let headers = pairs(request.headers);
    let body = match request.post_data {
        None => Body::Empty,
        Some(data) if data.text.is_empty() => Body::Form(pairs(data.params)),
        Some(data) => Body::read(&data.text, false, &headers),
    };
    let Content { text, encoding } = response.content;
    let text = match encoding.as_str() {
        "base64" => data_encoding::BASE64
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default(),
        _ => text,
    };
    // Browsers write the cookies of an answer into one field, a line each.
    let fields = pairs(response.headers).into_iter().flat_map(|(name, value)| {
        let is_cookie = name.eq_ignore_ascii_case("set-cookie");
        let values: Vec<String> = match is_cookie {
            true => value.lines().map(str::to_owned).collect(),
            false => vec![value],
        };
        values.into_iter().map(move |value| (name.clone(), value))
    });
    let answer = Answer { status: response.status, headers: fields.collect(), text };
    let (method, url) = (request.method, request.url);
    Exchange { method, url, headers, body, answer: Some(answer) }
}
