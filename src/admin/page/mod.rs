//! The page for a browser: the files of this folder as they are, without a build. It shows what the
//! API says, and does what the API does; nothing is loaded from elsewhere, and no value is put into a
//! file.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// The page itself.
const INDEX: File = File { name: "index.html", kind: HTML, text: include_str!("index.html") };

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// What it loads.
const FILES: [File; 11] = [
    File { name: "api.js", kind: SCRIPT, text: include_str!("api.js") },
    File { name: "charts.js", kind: SCRIPT, text: include_str!("charts.js") },
    File { name: "elements.js", kind: SCRIPT, text: include_str!("elements.js") },
    File { name: "icon.svg", kind: IMAGE, text: include_str!("icon.svg") },
    File { name: "lists.js", kind: SCRIPT, text: include_str!("lists.js") },
    File { name: "overview.js", kind: SCRIPT, text: include_str!("overview.js") },
    File { name: "page.js", kind: SCRIPT, text: include_str!("page.js") },
    File { name: "requests.js", kind: SCRIPT, text: include_str!("requests.js") },
    File { name: "sessions.js", kind: SCRIPT, text: include_str!("sessions.js") },
    File { name: "style.css", kind: STYLE, text: include_str!("style.css") },
    File { name: "words.js", kind: SCRIPT, text: include_str!("words.js") },
];

struct File {
    name: &'static str,
    /// `Content-Type`.
    kind: &'static str,
    text: &'static str,
}

/// The page.
pub(super) async fn index() -> Response {
    answer(&INDEX)
}

/// A file that it loads.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|file| file.name == name);
    found.map(answer).ok_or_else(|| Problem::not_found("the page has no such file"))
}

fn answer(file: &File) -> Response {
    ([(header::CONTENT_TYPE, file.kind)], file.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when the page wants a file that is not served, or one is served that nothing wants.
    #[test]
    fn what_the_page_loads_is_served() {
        let wanted = |text: &str, name: &str| {
            text.contains(&format!("\"/page/{name}\"")) || text.contains(&format!("'./{name}'"))
        };
        let all = || FILES.iter().chain([&INDEX]);
        for file in &FILES {
            assert!(all().any(|other| wanted(other.text, file.name)), "{} is not used", file.name);
        }
        for file in all() {
            for part in file.text.split("'./").skip(1) {
                let name = part.split('\'').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{name} is not served");
            }
        }
    }

    /// Fails when the page holds what its policy forbids.
    #[test]
    fn nothing_is_inline() {
        for file in FILES.iter().chain([&INDEX]) {
            for inline in [" style=\"", " onclick=\"", "javascript:", "innerHTML", "eval("] {
                assert!(!file.text.contains(inline), "{}: {inline}", file.name);
            }
        }
        assert!(!INDEX.text.contains("<script>") && !INDEX.text.contains("<style"));
    }
}
