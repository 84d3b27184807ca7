//! The cookies of one session: a jar for a single origin (RFC 6265). Values go back verbatim.

use std::borrow::Cow;

use http::{HeaderValue, header};
use zeroize::Zeroizing;

use super::Request;
use super::extract::VALUE_BYTES_MAX;
use crate::fields::Fields;
use crate::secret::SecretText;

/// More cookies than any survey of login schemes shows; a hostile upstream gets no further.
const COOKIES_MAX: usize = 64;

/// The cookies of one session. `Domain` and `Secure` are not asked: they go to one origin only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jar {
    /// The path of the upstream's URL: what a cookie's own path begins with, where it has one.
    base_path: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    value: SecretText,
    path: String,
}

impl Jar {
    /// An empty jar for an upstream whose URL has the path `base_path`: empty, or `/x` without a
    /// slash at the end. All other paths are below it.
    pub fn new(base_path: &str) -> Self {
        Self { base_path: base_path.to_owned(), entries: Vec::new() }
    }

    /// The same cookies for an upstream whose URL has the path `base_path`.
    pub(super) fn below(self, base_path: &str) -> Self {
        Self { base_path: base_path.to_owned(), ..self }
    }

    /// Stores what an answer sets. Emptied and removed cookies leave the jar; what is beyond a
    /// bound stays out of it.
    pub fn store(&mut self, headers: &Fields, request_path: &str) {
        for given in cookies(headers) {
            let path = given.path.filter(|path| path.starts_with('/'));
            let path = path.unwrap_or_else(|| default_path(&self.whole(request_path)).to_owned());
            let is_given = |held: &Entry| held.name == given.name && held.path == path;
            if given.is_removed {
                self.entries.retain(|held| !is_given(held));
            } else if given.value.len() > VALUE_BYTES_MAX {
                continue;
            } else if let Some(held) = self.entries.iter_mut().find(|held| is_given(held)) {
                held.value = SecretText::from(given.value);
            } else if self.entries.len() < COOKIES_MAX {
                let value = SecretText::from(given.value);
                self.entries.push(Entry { name: given.name, value, path });
            }
        }
    }

    /// The `Cookie` field for a request to `path`, marked sensitive.
    pub fn header(&self, path: &str) -> Option<HeaderValue> {
        self.header_with(path, &[])
    }

    /// The same, with these cookies in the place of any that have their names.
    pub fn header_with(&self, path: &str, others: &[(&str, &SecretText)]) -> Option<HeaderValue> {
        let mut text = Zeroizing::new(String::new());
        let path = self.whole(path);
        let own = self.entries.iter().filter(|entry| path_matches(&entry.path, &path));
        let own = own.map(|entry| (entry.name.as_str(), &entry.value));
        let own = own.filter(|(name, _)| !others.iter().any(|(other, _)| other == name));
        for (name, value) in own.chain(others.iter().copied()) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value.expose());
        }
        if text.is_empty() {
            return None;
        }
        // Servers may set any byte above ASCII, too, and get it back as it was.
        let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether every cookie goes to every path.
    pub fn is_for_all_paths(&self) -> bool {
        let root = self.whole("/");
        self.entries.iter().all(|entry| path_matches(&entry.path, &root))
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretText)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), &entry.value))
    }

    /// Names, values and paths, to be kept over a restart.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &SecretText, &str)> {
        self.entries.iter().map(|entry| (&*entry.name, &entry.value, &*entry.path))
    }

    /// A jar that was kept: names, values and paths.
    pub fn kept(
        base_path: &str,
        parts: impl IntoIterator<Item = (String, String, String)>,
    ) -> Self {
        let parts = parts.into_iter().take(COOKIES_MAX);
        let entries =
            parts.map(|(name, value, path)| Entry { name, value: SecretText::from(value), path });
        Self { base_path: base_path.to_owned(), entries: entries.collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A path as the upstream sees it.
    fn whole<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match self.base_path.is_empty() {
            true => Cow::Borrowed(path),
            false => Cow::Owned(format!("{}{path}", self.base_path)),
        }
    }

    /// Puts the cookies into a request, with these in the place of any that have their names.
    pub(super) fn send(&self, request: &mut Request, others: &[(&str, &SecretText)]) {
        let path = request.target.split('?').next().unwrap_or("/").to_owned();
        if let Some(value) = self.header_with(&path, others) {
            request.headers.insert(header::COOKIE, value);
        }
    }
}

/// RFC 6265 section 5.1.4, "default-path".
fn default_path(request_path: &str) -> &str {
    match request_path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => request_path.get(..end).unwrap_or("/"),
    }
}

/// RFC 6265 section 5.1.4, "path-match".
fn path_matches(cookie: &str, request: &str) -> bool {
    match request.strip_prefix(cookie) {
        Some(rest) => rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// A cookie as an answer gives it.
pub(super) struct Given {
    pub(super) name: String,
    /// As it was sent, with its quotes: servers compare bytes.
    pub(super) value: String,
    path: Option<String>,
    /// Emptied, or with an end that has passed.
    pub(super) is_removed: bool,
    /// `Max-Age`, in seconds.
    max_age: Option<i64>,
    /// `Expires`, in seconds since 1970.
    expires: Option<i64>,
}

impl Given {
    /// The seconds that it has to live at `now`, in seconds since 1970. `Max-Age` counts first (RFC
    /// 6265 section 5.3).
    pub(super) fn age_at(&self, now: i64) -> Option<i64> {
        self.max_age.or_else(|| self.expires?.checked_sub(now)).filter(|age| *age > 0)
    }
}

/// What an answer sets, in order.
pub(super) fn cookies(headers: &Fields) -> impl Iterator<Item = Given> {
    headers.get_all(header::SET_COOKIE).filter_map(|field| {
        let text = std::str::from_utf8(field).ok()?.trim_start();
        let cookie = cookie::Cookie::parse(text).ok()?;
        let ended = cookie.max_age().is_some_and(|age| age.is_zero() || age.is_negative())
            || cookie.expires_datetime().is_some_and(|time| time.unix_timestamp() <= 86_400);
        Some(Given {
            name: cookie.name().to_owned(),
            value: verbatim(text, cookie.name()).unwrap_or(cookie.value()).to_owned(),
            path: cookie.path().map(str::to_owned),
            is_removed: ended || cookie.value().is_empty(),
            max_age: cookie.max_age().map(|age| age.whole_seconds()),
            expires: cookie.expires_datetime().map(|time| time.unix_timestamp()),
        })
    })
}

fn verbatim<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let pair = field.split(';').next()?;
    let (given, value) = pair.split_once('=')?;
    (given.trim() == name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(fields: &[&str]) -> Jar {
        let mut headers = Fields::new();
        for field in fields {
            headers.append(header::SET_COOKIE, field.parse::<HeaderValue>().unwrap());
        }
        let mut jar = Jar::default();
        jar.store(&headers, "/auth/login");
        jar
    }

    #[test]
    fn cookies_go_back_verbatim_to_the_paths_they_are_for() {
        let jar = jar(&[r#"a="q|1:x=="; Path=/; HttpOnly"#, "b=2; Path=/api", "c=3"]);
        let header = |path| jar.header(path).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("/x").as_deref(), Some(r#"a="q|1:x==""#));
        assert_eq!(header("/api/y").as_deref(), Some(r#"a="q|1:x=="; b=2"#));
        assert_eq!(header("/auth/me").as_deref(), Some(r#"a="q|1:x=="; c=3"#));
        assert_eq!(header("/apis").as_deref(), Some(r#"a="q|1:x==""#));
    }

    #[test]
    fn an_emptied_or_removed_cookie_leaves_the_jar() {
        assert!(jar(&["a=1; Path=/", "a=; Path=/"]).header("/").is_none());
        assert!(jar(&["a=1; Path=/", "a=gone; Path=/; Max-Age=0"]).header("/").is_none());
        assert!(jar(&["a=1; Path=/"]).header("/").unwrap().is_sensitive());
    }

    #[test]
    fn a_cookie_that_is_set_anew_keeps_its_place_and_a_huge_one_stays_out() {
        let huge = format!("b={}; Path=/", "x".repeat(VALUE_BYTES_MAX + 1));
        let jar = jar(&["a=1; Path=/", "b=2; Path=/", "a=3; Path=/", &huge]);
        assert_eq!(jar.header("/").unwrap(), "a=3; b=2");
        assert_eq!(jar, jar.clone().below(""));
    }

    #[test]
    fn below_a_base_path_cookies_go_to_the_paths_that_the_upstream_sees() {
        let mut jar = Jar::new("/site");
        let headers = ["node=1; Path=/site", "all=2; Path=/", "login=3"]
            .map(|field| (header::SET_COOKIE, HeaderValue::from_static(field)));
        jar.store(&headers.into_iter().collect(), "/REST/server/tokens");
        let header = |path| jar.header(path).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("/REST/session").as_deref(), Some("node=1; all=2"));
        assert_eq!(header("/REST/server/x").as_deref(), Some("node=1; all=2; login=3"));
        assert!(!jar.is_for_all_paths());
    }

    #[test]
    fn one_cookie_beyond_ascii_does_not_keep_the_others_back() {
        let mut headers = Fields::new();
        headers.append(header::SET_COOKIE, HeaderValue::from_static("session=1; Path=/"));
        let name = HeaderValue::from_bytes("user=J\u{f6}rg; Path=/".as_bytes()).unwrap();
        headers.append(header::SET_COOKIE, name);
        let mut jar = Jar::default();
        jar.store(&headers, "/login");
        let expected = "session=1; user=J\u{f6}rg";
        assert_eq!(jar.header("/").unwrap().as_bytes(), expected.as_bytes());
    }
}
