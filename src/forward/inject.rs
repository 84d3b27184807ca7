//! What a session puts into requests, rendered once when the session begins.

use std::borrow::Cow;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::utf8_percent_encode;

use super::body::{BodyKind, Placed, Way};
use super::{hop, xml};
use crate::fields::Fields;
use crate::login::render::{header_value, is_cookie_value};
use crate::login::{Jar, Material};
use crate::recipe::template::{Rendered, URL_VALUE};
use crate::recipe::{InjectInto, InjectMethods, Injection, Overwrite, Recipe};
use crate::secret::SecretText;

/// What RFC 2965 put beside `Cookie`; some servers still read it.
const COOKIE2: HeaderName = HeaderName::from_static("cookie2");

/// A session's injections, ready to be copied into requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Injector {
    headers: Vec<HeaderInjection>,
    /// `name=value`, encoded, with the methods it goes to.
    query: Vec<(SecretText, InjectMethods)>,
    cookies: Option<CookieInjection>,
    /// Beside those of the session.
    named: Vec<NamedCookie>,
    bodies: Vec<BodyInjection>,
}

#[derive(Debug, PartialEq, Eq)]
struct BodyInjection {
    way: Way,
    value: SecretText,
    methods: InjectMethods,
    overwrite: Overwrite,
    placeholder: String,
}

#[derive(Debug, PartialEq, Eq)]
struct NamedCookie {
    name: String,
    value: SecretText,
    methods: InjectMethods,
}

#[derive(Debug, PartialEq, Eq)]
struct HeaderInjection {
    name: HeaderName,
    value: HeaderValue,
    methods: InjectMethods,
    overwrite: Overwrite,
}

#[derive(Debug, PartialEq, Eq)]
struct CookieInjection {
    jar: Jar,
    /// The field, where every cookie goes to every path.
    whole: Option<HeaderValue>,
    methods: InjectMethods,
}

/// A session value that cannot be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unusable {
    /// A control character, or one beyond ASCII, in this header field; in a cookie also what would
    /// end it.
    #[error("the value for the header field `{0}` holds a character that no header field may hold")]
    Field(HeaderName),
    /// A control character in this element.
    #[error("the value for the element `{0}` holds a character that no XML may hold")]
    Element(String),
}

impl Injector {
    /// Renders a recipe's injections with what a login gave.
    ///
    /// # Errors
    /// When a value cannot stand in its header field.
    pub fn new(recipe: &Recipe, material: &Material, now: SystemTime) -> Result<Self, Unusable> {
        let mut injector = Self::default();
        for injection in &recipe.inject {
            let methods = injection.methods.clone();
            match &injection.into {
                InjectInto::Header(name, template) => {
                    let text = template.text(&material.values, now);
                    if !text.is_empty() {
                        injector.headers.push(HeaderInjection {
                            name: name.clone(),
                            value: session_value(&text)
                                .ok_or_else(|| Unusable::Field(name.clone()))?,
                            methods,
                            overwrite: injection.overwrite,
                        });
                    }
                }
                InjectInto::Query(name, template) => {
                    let text = template.text(&material.values, now);
                    if !text.is_empty() {
                        let value = utf8_percent_encode(&text, URL_VALUE);
                        let pair = SecretText::new(format!("{name}={value}"));
                        injector.query.push((pair, methods));
                    }
                }
                InjectInto::Cookies => {
                    let jar = material.cookies.clone();
                    let whole = if jar.is_for_all_paths() { jar.header("/") } else { None };
                    injector.cookies = Some(CookieInjection { jar, whole, methods });
                }
                InjectInto::Json(pointer, template, unless) => {
                    let value = match template.render(&material.values, now) {
                        Rendered::Number(number) => number.to_string(),
                        Rendered::Text(text) if text.is_empty() => continue,
                        Rendered::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
                    };
                    let way = Way::Members(pointer.tokens().to_vec(), unless.clone());
                    injector.put(way, value, injection, recipe);
                }
                InjectInto::Form(name, template) => {
                    let text = template.text(&material.values, now);
                    if !text.is_empty() {
                        let way = Way::Field(name.clone());
                        injector.put(way, text.to_string(), injection, recipe);
                    }
                }
                InjectInto::Xml(way, template) => {
                    let text = template.text(&material.values, now);
                    if !text.is_empty() {
                        let value = xml::value(&text);
                        let value = value.ok_or_else(|| Unusable::Element(way.to_string()))?;
                        injector.put(Way::Element(way.clone()), value, injection, recipe);
                    }
                }
                InjectInto::Cookie(name, template) => {
                    let text = template.text(&material.values, now);
                    if !text.is_empty() {
                        if !is_cookie_value(&text) {
                            return Err(Unusable::Field(header::COOKIE));
                        }
                        let (name, value) = (name.clone(), SecretText::new(text.to_string()));
                        injector.named.push(NamedCookie { name, value, methods });
                    }
                }
            }
        }
        Ok(injector)
    }

    fn put(&mut self, way: Way, value: String, injection: &Injection, recipe: &Recipe) {
        self.bodies.push(BodyInjection {
            way,
            value: SecretText::new(value),
            methods: injection.methods.clone(),
            overwrite: injection.overwrite,
            placeholder: recipe.placeholder.clone(),
        });
    }

    /// What goes into a body of this kind.
    pub(super) fn placed(
        &self,
        method: &Method,
        kind: BodyKind,
    ) -> impl Iterator<Item = (&Way, Placed<'_>)> {
        let meant = move |injection: &&BodyInjection| {
            injection.way.kind() == kind && injection.methods.include(method)
        };
        self.bodies.iter().filter(meant).map(|injection| {
            let placed = Placed {
                value: injection.value.expose(),
                overwrite: injection.overwrite,
                placeholder: &injection.placeholder,
            };
            (&injection.way, placed)
        })
    }

    /// What is put into every request, whatever the session: nothing of it was given by a login
    /// or an account.
    ///
    /// # Errors
    /// As for [`Injector::new`].
    pub fn without_session(recipe: &Recipe) -> Result<Self, Unusable> {
        let mut injector = Self::default();
        for injection in &recipe.inject {
            if let InjectInto::Header(name, template) = &injection.into
                && let Some(text) = template.literal()
                && !text.is_empty()
            {
                let value = header_value(text).ok_or_else(|| Unusable::Field(name.clone()))?;
                let (name, methods) = (name.clone(), injection.methods.clone());
                let overwrite = injection.overwrite;
                injector.headers.push(HeaderInjection { name, value, methods, overwrite });
            }
        }
        Ok(injector)
    }

    /// Puts the session's header fields into a request to `path` below the upstream's URL.
    pub fn apply(&self, method: &Method, path: &str, headers: &mut HeaderMap) {
        for (name, value, overwrite) in self.headers(method) {
            if overwrite == Overwrite::Always || !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(cookie) = self.cookie(method, path) {
            headers.insert(header::COOKIE, cookie.into_owned());
        }
    }

    /// Puts the session's header fields into a request of the recipe's own to `path`, as far as it
    /// does not say otherwise: where a token is revoked, its client may show itself in the field
    /// that the token goes into otherwise.
    pub fn complete(&self, method: &Method, path: &str, headers: &mut HeaderMap) {
        for (name, value, _) in self.headers(method) {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(cookie) = self.cookie(method, path)
            && !headers.contains_key(header::COOKIE)
        {
            headers.insert(header::COOKIE, cookie.into_owned());
        }
    }

    /// The session's header fields for a request, without cookies, and what becomes of a field of
    /// the same name.
    pub fn headers(
        &self,
        method: &Method,
    ) -> impl Iterator<Item = (&HeaderName, &HeaderValue, Overwrite)> {
        let headers = self.headers.iter().filter(|injection| injection.methods.include(method));
        headers.map(|injection| (&injection.name, &injection.value, injection.overwrite))
    }

    /// `Cookie` for a request to `path`, in the place of any that is there.
    pub fn cookie(&self, method: &Method, path: &str) -> Option<Cow<'_, HeaderValue>> {
        let cookies = self.cookies.as_ref().filter(|cookies| cookies.methods.include(method));
        let named = self.named.iter().filter(|cookie| cookie.methods.include(method));
        let named: Vec<_> = named.map(|cookie| (cookie.name.as_str(), &cookie.value)).collect();
        match cookies {
            None if named.is_empty() => None,
            None => Jar::default().header_with(path, &named).map(Cow::Owned),
            Some(CookieInjection { whole: Some(whole), .. }) if named.is_empty() => {
                Some(Cow::Borrowed(whole))
            }
            Some(cookies) => cookies.jar.header_with(path, &named).map(Cow::Owned),
        }
    }

    /// The session's query parameters for a request, encoded.
    pub fn query(&self, method: &Method) -> impl Iterator<Item = &str> {
        let method = method.clone();
        self.query
            .iter()
            .filter(move |(_, methods)| methods.include(&method))
            .map(|(pair, _)| pair.expose())
    }
}

/// The value of a field. What is beyond ASCII has no one meaning there (RFC 9110 section 5.5).
fn session_value(text: &str) -> Option<HeaderValue> {
    header_value(text).filter(|_| text.is_ascii())
}

/// Whether a field of a client's request could pass for a credential: `Authorization`, `Cookie`,
/// what the recipe names, every field that the session itself sets, and fields with `_` in their
/// names, which pass for others in some servers, unless the upstream is known to read them.
pub fn passes_for_credential(recipe: &Recipe, name: &HeaderName) -> bool {
    names(recipe).any(|named| named == name) || passes_by_its_name(recipe, name)
}

/// The fields of one request that could pass for a credential.
#[derive(Debug)]
pub struct Credentials<'a> {
    recipe: &'a Recipe,
    /// Those that the recipe names; mostly none.
    named: Vec<&'a HeaderName>,
}

impl<'a> Credentials<'a> {
    /// Those among these fields.
    pub fn among(recipe: &'a Recipe, headers: &Fields) -> Self {
        Self { recipe, named: names(recipe).filter(|name| headers.contains(*name)).collect() }
    }

    /// What [`passes_for_credential`] says of one of the fields.
    pub fn have(&self, name: &HeaderName) -> bool {
        self.named.contains(&name) || passes_by_its_name(self.recipe, name)
    }
}

/// Whether a field passes for a credential whose name the recipe does not say.
fn passes_by_its_name(recipe: &Recipe, name: &HeaderName) -> bool {
    !hop::is_plain(name)
        && (matches!(*name, header::AUTHORIZATION | header::COOKIE)
            || *name == COOKIE2
            || (is_alias(name) && !recipe.spelling.underscore_headers.contains(name)))
}

/// What the recipe takes from clients, and what the session itself sets.
fn names(recipe: &Recipe) -> impl Iterator<Item = &HeaderName> {
    let set = recipe.inject.iter().filter_map(Injection::always_set);
    recipe.strip_headers.iter().chain(set)
}

fn is_alias(name: &HeaderName) -> bool {
    name.as_str().as_bytes().contains(&b'_')
}

impl Injection {
    /// The field that the session sets whatever the client says.
    fn always_set(&self) -> Option<&HeaderName> {
        match &self.into {
            InjectInto::Header(name, template)
                if self.overwrite == Overwrite::Always && template.reads().next().is_some() =>
            {
                Some(name)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_query_injection_shows_no_value() {
        let pair = SecretText::new("sid=a-secret".to_owned());
        let injector = Injector { query: vec![(pair, InjectMethods::Any)], ..Injector::default() };
        let shown = format!("{injector:?}");
        assert!(!shown.contains("a-secret"), "{shown}");
    }
}
