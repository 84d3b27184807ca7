//! What a browser is shown: how the gateway is, as plain text in a page without script, and what the
//! API has. All of it comes from this process; nothing is loaded from elsewhere.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use super::answers::{Session, SessionState};
use super::routes::operations;
use super::{Api, summary};

/// How the page looks.
const STYLE: &str = include_str!("style.css");

/// Sessions that are shown; there may be many.
const ROWS_MAX: usize = 100;

/// How the gateway is.
pub(super) async fn index(State(api): State<Arc<Api>>) -> Html<String> {
    let gateway = &api.gateway;
    let sessions = gateway.sessions();
    let (troubles, summary) =
        summary::of(&sessions, &gateway.upstreams(), &gateway.checks(), gateway.is_stopping());
    let configuration = gateway.configuration();
    let mut page = Page::default();
    page.line("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.line("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.line("<title>Doorward</title><link rel=\"stylesheet\" href=\"/style.css\"></head><body>");
    page.element("h1", "Doorward");
    page.element("p", &summary);
    if !troubles.is_empty() {
        page.line("<ul>");
        troubles.iter().for_each(|trouble| page.element("li", trouble));
        page.line("</ul>");
    }
    page.element(
        "p",
        &format!(
            "Version {}, configuration {} ({}), read {}.",
            env!("CARGO_PKG_VERSION"),
            configuration.files.join(", "),
            configuration.sha256,
            configuration.loaded_at
        ),
    );
    page.element("h2", "Sessions");
    page.line("<table><thead><tr>");
    for name in ["Upstream", "Account", "Client", "State", "Session", "Ends in"] {
        page.element("th", name);
    }
    page.line("</tr></thead><tbody>");
    sessions.iter().take(ROWS_MAX).for_each(|session| page.row(session));
    page.line("</tbody></table>");
    if sessions.len() > ROWS_MAX {
        page.element("p", &format!("{} more are not shown.", sessions.len() - ROWS_MAX));
    }
    page.element("h2", "The API");
    page.line("<dl>");
    for operation in operations() {
        page.element("dt", &format!("{} {}", operation.method, operation.path));
        page.element("dd", operation.summary);
    }
    page.line("</dl></body></html>");
    Html(page.0)
}

/// How that looks.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// A page in the making. Texts go in only by [`Page::element`].
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, markup: &'static str) {
        self.0.push_str(markup);
        self.0.push('\n');
    }

    fn element(&mut self, name: &'static str, text: &str) {
        self.0.push_str(&format!("<{name}>"));
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                character => self.0.push(character),
            }
        }
        self.0.push_str(&format!("</{name}>\n"));
    }

    fn row(&mut self, session: &Session) {
        let state = match session.state {
            SessionState::None => "none".to_owned(),
            SessionState::LoggingIn => "logging in".to_owned(),
            SessionState::Live => "live".to_owned(),
            SessionState::Renewing => "live, being renewed".to_owned(),
            SessionState::HeldBack | SessionState::Quarantined => {
                format!("no login: {}", session.cause.as_deref().unwrap_or("unknown"))
            }
        };
        let number = session.generation.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let ends = session.expires_in_ms;
        let ends = ends.map_or_else(|| "-".to_owned(), |ends| format!("{} s", ends / 1000));
        self.line("<tr>");
        self.element("td", &session.upstream);
        self.element("td", &session.account);
        self.element("td", session.client.as_deref().unwrap_or("all"));
        self.element("td", &state);
        self.element("td", &number);
        self.element("td", &ends);
        self.line("</tr>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a name or a cause can become markup.
    #[test]
    fn texts_stay_texts() {
        let mut page = Page::default();
        page.element("p", "<script>alert('1 & \"2\"')</script>");
        let expected =
            "<p>&lt;script&gt;alert(&#39;1 &amp; &quot;2&quot;&#39;)&lt;/script&gt;</p>\n";
        assert_eq!(page.0, expected);
    }
}
