//! Session values in the bodies of requests: a member of a JSON object, a field of a form, or an element
//! of XML. All else of a body stays as the client has written it, byte for byte as far as that can be.

use std::borrow::Cow;

use http::{Method, header};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::inject::Injector;
use super::xml;
use crate::fields::{self, Fields};
use crate::recipe::element::ElementPath;
use crate::recipe::template::URL_VALUE;
use crate::recipe::{InjectInto, Overwrite, Recipe, Unless};

/// What kind of body values are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// JSON: one object, or an array of them, each of which gets the values.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// XML in UTF-8, without entities of its own.
    Xml,
}

/// A body that no value can be put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
pub enum Unwritable {
    /// Of a type that the recipe puts nothing into, where it puts the session nowhere else.
    OtherType,
    /// A content coding that nobody takes off.
    Coded,
    /// No JSON that holds an object.
    NoObject,
    /// What it is to be put into is there, and no object.
    NoParent,
    /// No XML.
    NoXml,
    /// XML with a document type, or with entities that nothing defines.
    OwnEntities,
    /// XML in another encoding.
    NotUtf8,
    /// XML with another root, or without an element that cannot be made.
    NoElement,
    /// With the session in it, it is longer than it may be.
    TooLong,
}

impl Unwritable {
    /// What a client is told.
    pub fn told(self) -> &'static str {
        match self {
            Self::OtherType => "the session goes into bodies, and into none of this type",
            Self::Coded => "the session goes into the body, which has a content coding",
            Self::NoObject => "the session goes into the body, which is no JSON object",
            Self::NoParent => "the session goes into an object in the body that is none",
            Self::NoXml => "the session goes into the body, which is no XML",
            Self::OwnEntities => "the session goes into the body, which has entities of its own",
            Self::NotUtf8 => "the session goes into the body, which is not in UTF-8",
            Self::NoElement => "the session goes into an element that the body does not have",
            Self::TooLong => "the session goes into the body, which is too long for that",
        }
    }
}

/// What kind of body of a request the recipe puts something into; nothing where it leaves it alone.
///
/// # Errors
/// A body of that kind that cannot be read for its content coding; one of another kind where the
/// session would be in nothing else of the request.
pub fn kind(
    recipe: &Recipe,
    method: &Method,
    headers: &Fields,
) -> Result<Option<BodyKind>, Unwritable> {
    let injections = recipe.inject.iter().filter(|injection| injection.methods.include(method));
    let mut kinds = injections.filter_map(|injection| BodyKind::of(&injection.into)).peekable();
    if kinds.peek().is_none() {
        return Ok(None);
    }
    let Some(told) = told(headers).filter(|told| kinds.any(|kind| kind == *told)) else {
        return match recipe.has_session_in_head(method) {
            true => Ok(None),
            false => Err(Unwritable::OtherType),
        };
    };
    let is_coded = |value: &[u8]| !value.eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).any(is_coded) {
        return Err(Unwritable::Coded);
    }
    // It goes before what XML says itself (RFC 7303 section 3); JSON and forms have none.
    if told == BodyKind::Xml && charset(headers).is_some_and(|it| it != "utf-8") {
        return Err(Unwritable::NotUtf8);
    }
    Ok(Some(told))
}

impl BodyKind {
    /// What an injection goes into, where that is a body.
    pub fn of(into: &InjectInto) -> Option<Self> {
        match into {
            InjectInto::Json(..) => Some(Self::Json),
            InjectInto::Form(..) => Some(Self::Form),
            InjectInto::Xml(..) => Some(Self::Xml),
            InjectInto::Header(..)
            | InjectInto::Query(..)
            | InjectInto::Cookies
            | InjectInto::Cookie(..) => None,
        }
    }
}

/// What kind a request's only `Content-Type` tells (RFC 9110 section 8.3, RFC 6839 section 3.1; what
/// calls by JSON-RPC over HTTP may have beside `application/json`).
fn told(headers: &Fields) -> Option<BodyKind> {
    let mut types = headers.get_all(header::CONTENT_TYPE);
    let (Some(told), None) = (types.next(), types.next()) else { return None };
    let told = fields::text(told)?.split(';').next()?.trim().to_ascii_lowercase();
    match told.as_str() {
        "application/x-www-form-urlencoded" => Some(BodyKind::Form),
        "application/json"
        | "application/json-rpc"
        | "application/jsonrequest"
        | "application/x-json"
        | "text/json" => Some(BodyKind::Json),
        "application/xml" | "text/xml" => Some(BodyKind::Xml),
        told if told.starts_with("application/") && told.ends_with("+json") => Some(BodyKind::Json),
        told if told.starts_with("application/") && told.ends_with("+xml") => Some(BodyKind::Xml),
        _ => None,
    }
}

/// The `charset` of the `Content-Type`, in lower case.
fn charset(headers: &Fields) -> Option<String> {
    let told = headers.text(header::CONTENT_TYPE)?.to_ascii_lowercase();
    let mut parameters = told.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim() == "charset")?;
    Some(charset.trim().trim_matches('"').to_owned())
}

/// Where in a body a value goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The members on the way to that of a JSON object; at least one. And the objects that nothing is
    /// put into.
    Members(Vec<String>, Option<Unless>),
    /// A field of a form.
    Field(String),
    /// An element of XML.
    Element(ElementPath),
}

impl Way {
    pub(super) fn kind(&self) -> BodyKind {
        match self {
            Self::Members(..) => BodyKind::Json,
            Self::Field(_) => BodyKind::Form,
            Self::Element(_) => BodyKind::Xml,
        }
    }
}

/// A value, and what becomes of one that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    /// As it stands in a body of that kind, but for percent-encoding.
    pub(super) value: &'a str,
    pub(super) overwrite: Overwrite,
    /// What clients are shown in the value's place: whoever sends it back means the value.
    pub(super) placeholder: &'a str,
}

impl Injector {
    /// The body with the session's values in it, at most `bytes_max`: each object of an array takes a
    /// value, so that a short body of many objects would become a very long one.
    ///
    /// # Errors
    /// A body that is none of its kind, or becomes too long.
    pub fn written(
        &self,
        method: &Method,
        kind: BodyKind,
        body: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Unwritable> {
        let mut written = Cow::Borrowed(body);
        for (way, placed) in self.placed(method, kind) {
            written = Cow::Owned(match way {
                Way::Members(way, unless) => {
                    in_json(&written, way, unless.as_ref(), placed, bytes_max)?
                }
                Way::Field(name) => in_form(&written, name, placed),
                Way::Element(way) => xml::written(&written, way, placed, bytes_max)?,
            });
            if written.len() > bytes_max {
                return Err(Unwritable::TooLong);
            }
        }
        Ok(written.into_owned())
    }
}

fn in_form(body: &[u8], name: &str, placed: Placed<'_>) -> Vec<u8> {
    let is = |written: &[u8], text: &str| {
        let written = String::from_utf8_lossy(written).replace('+', " ");
        percent_decode_str(&written).decode_utf8_lossy() == text
    };
    let is_it = |pair: &[u8]| is(name_and_value(pair).0, name);
    let is_own = |pair: &[u8]| is_it(pair) && !is(name_and_value(pair).1, placed.placeholder);
    let pairs = || body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    if placed.overwrite == Overwrite::IfAbsent && pairs().any(is_own) {
        return body.to_vec();
    }
    let mut written = pairs().filter(|pair| !is_it(pair)).collect::<Vec<_>>().join(&b'&');
    if !written.is_empty() {
        written.push(b'&');
    }
    let (name, value) = (
        utf8_percent_encode(name, URL_VALUE).to_string(),
        utf8_percent_encode(placed.value, URL_VALUE).to_string(),
    );
    written.extend_from_slice(format!("{name}={value}").as_bytes());
    written
}

fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = pair.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn in_json(
    body: &[u8],
    way: &[String],
    unless: Option<&Unless>,
    placed: Placed<'_>,
    bytes_max: usize,
) -> Result<Vec<u8>, Unwritable> {
    let text = std::str::from_utf8(body).map_err(|_| Unwritable::NoObject)?;
    let value_in = |object: &str| {
        let stays_out = unless.is_some_and(|unless| unless.holds(object));
        (!stays_out).then_some(placed.value)
    };
    let mut written = String::with_capacity(text.len() + placed.value.len() + 64);
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        if items.is_empty() {
            return Err(Unwritable::NoObject);
        }
        for (index, item) in items.into_iter().enumerate() {
            written.push(if index == 0 { '[' } else { ',' });
            in_object(item.get(), way, value_in(item.get()), placed, &mut written)?;
            if written.len() > bytes_max {
                return Err(Unwritable::TooLong);
            }
        }
        written.push(']');
    } else {
        in_object(text, way, value_in(text), placed, &mut written)?;
    }
    Ok(written.into_bytes())
}

/// Writes the object `text` with the value at the end of `way`, or without any there. Every other member
/// stays as it is written, its numbers among them; of a name that is there twice all go.
fn in_object(
    text: &str,
    way: &[String],
    value: Option<&str>,
    placed: Placed<'_>,
    written: &mut String,
) -> Result<(), Unwritable> {
    let Some((name, rest)) = way.split_first() else { return Err(Unwritable::NoObject) };
    let Members(members) = serde_json::from_str(text).map_err(|_| Unwritable::NoObject)?;
    let there = members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.get());
    let is_own = |there: &str| {
        serde_json::from_str::<String>(there).ok().as_deref() != Some(placed.placeholder)
    };
    let stands = placed.overwrite == Overwrite::IfAbsent && rest.is_empty();
    if (stands && there.is_some_and(is_own)) || (value.is_none() && there.is_none()) {
        written.push_str(text);
        return Ok(());
    }
    written.push('{');
    let kept = members.iter().filter(|(known, _)| known != name);
    let named = kept.map(|(known, value)| (known.as_ref(), Cow::Borrowed(value.get())));
    let ours = match (rest.is_empty(), value) {
        (true, value) => value.map(Cow::Borrowed),
        (false, value) => {
            let (there, mut inner) = (there.unwrap_or("{}"), String::new());
            match in_object(there, rest, value, placed, &mut inner) {
                Ok(()) => Some(Cow::Owned(inner)),
                // Nothing is to be put into it.
                Err(_) if value.is_none() => Some(Cow::Borrowed(there)),
                Err(_) => return Err(Unwritable::NoParent),
            }
        }
    };
    let mut is_first = true;
    for (name, value) in named.chain(ours.map(|value| (name.as_str(), value))) {
        if !is_first {
            written.push(',');
        }
        is_first = false;
        written.push_str(&serde_json::Value::from(name).to_string());
        written.push(':');
        written.push_str(&value);
    }
    written.push('}');
    Ok(())
}

/// The members of an object in their order, each as it is written.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((Cow::Owned(member.0), member.1));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reading).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::pattern::Pointer;

    const BYTES_MAX: usize = 1024 * 1024;

    fn json(way: &[&str], overwrite: Overwrite, body: &str) -> Result<String, Unwritable> {
        let way: Vec<String> = way.iter().map(|name| (*name).to_owned()).collect();
        let placed = Placed { value: "\"t\\\"1\"", overwrite, placeholder: "shown" };
        in_json(body.as_bytes(), &way, None, placed, BYTES_MAX)
            .map(|body| String::from_utf8(body).unwrap())
    }

    /// Fails when a body comes out otherwise than its client has written it, besides the value.
    #[test]
    fn a_member_is_set_and_all_else_stays_as_it_is_written() {
        let set = |way: &[&str], body| json(way, Overwrite::Always, body);
        let ok = |text: &str| Ok(text.to_owned());
        let big = r#"{"n": 12345678901234567890123,"f":1.0e400, "s":"\u00e4"}"#;
        assert_eq!(
            set(&["auth"], big),
            ok(r#"{"n":12345678901234567890123,"f":1.0e400,"s":"\u00e4","auth":"t\"1"}"#)
        );
        assert_eq!(set(&["auth"], r#"{"auth":1,"a":2,"auth":3}"#), ok(r#"{"a":2,"auth":"t\"1"}"#));
        assert_eq!(set(&["auth"], r#"{"\u0061uth":1}"#), ok(r#"{"auth":"t\"1"}"#));
        assert_eq!(set(&["auth"], "{}"), ok(r#"{"auth":"t\"1"}"#));
        assert_eq!(
            set(&["auth"], r#" [ {"a":1}, {"auth":null} ] "#),
            ok(r#"[{"a":1,"auth":"t\"1"},{"auth":"t\"1"}]"#)
        );
        assert_eq!(set(&["p", "s"], r#"{"p":{"a":[1]}}"#), ok(r#"{"p":{"a":[1],"s":"t\"1"}}"#));
        assert_eq!(set(&["p", "s"], "{}"), ok(r#"{"p":{"s":"t\"1"}}"#));
        let absent = json(&["auth"], Overwrite::IfAbsent, r#"{ "auth" : 1 }"#);
        assert_eq!(absent, ok(r#"{ "auth" : 1 }"#));
        let shown = json(&["auth"], Overwrite::IfAbsent, r#"{"auth":"shown"}"#);
        assert_eq!(shown, ok(r#"{"auth":"t\"1"}"#));
    }

    /// Fails when a request would be sent without its session.
    #[test]
    fn a_body_that_is_no_object_takes_no_value() {
        for body in ["", "1", "\"a\"", "[]", "[1]", "[[{}]]", "{", "{}{}", "null", "\u{feff}{}"] {
            assert_eq!(json(&["a"], Overwrite::Always, body), Err(Unwritable::NoObject), "{body}");
        }
        let parent = json(&["p", "s"], Overwrite::Always, r#"{"p":[{}]}"#);
        assert_eq!(parent, Err(Unwritable::NoParent));
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        // However deep it is, nothing in it is looked at.
        assert!(json(&["b"], Overwrite::Always, &deep).is_ok());
        assert!(json(&["b"], Overwrite::Always, &deep[..300_000]).is_err());
    }

    /// Fails when a call that is refused with a session in it gets one, or keeps the client's own.
    #[test]
    fn a_value_stays_out_of_objects_that_may_not_have_it() {
        let unless = Unless {
            at: Pointer::parse("/method").unwrap(),
            one_of: vec!["version".into(), "log in".into()],
        };
        let way = ["auth".to_owned()];
        let written = |overwrite, body: &str| {
            let placed = Placed { value: "1", overwrite, placeholder: "shown" };
            let written = in_json(body.as_bytes(), &way, Some(&unless), placed, BYTES_MAX);
            String::from_utf8(written.unwrap()).unwrap()
        };
        let always = |body| written(Overwrite::Always, body);
        assert_eq!(always(r#"{ "method":"version" }"#), r#"{ "method":"version" }"#);
        assert_eq!(always(r#"{"auth":null,"method":"version"}"#), r#"{"method":"version"}"#);
        assert_eq!(always(r#"{"auth":2,"method":"\u0076ersion"}"#), r#"{"method":"\u0076ersion"}"#);
        assert_eq!(always(r#"{"method":"get"}"#), r#"{"method":"get","auth":1}"#);
        assert_eq!(
            always(r#"[{"method":"log in","auth":2},{"method":"get"}]"#),
            r#"[{"method":"log in"},{"method":"get","auth":1}]"#
        );
        // The last of a name counts, as for most readers of JSON.
        assert_eq!(
            always(r#"{"method":"version","method":"get"}"#),
            r#"{"method":"version","method":"get","auth":1}"#
        );
        let own = r#"{"auth":2,"method":"version"}"#;
        assert_eq!(written(Overwrite::IfAbsent, own), own);

        let way = ["params".to_owned(), "auth".to_owned()];
        let placed = Placed { value: "1", overwrite: Overwrite::Always, placeholder: "shown" };
        for params in ["[2]", "3", "{}"] {
            let body = format!(r#"{{"method":"version","params":{params}}}"#);
            let written = in_json(body.as_bytes(), &way, Some(&unless), placed, BYTES_MAX).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), body);
        }
    }

    /// Fails when a short body becomes one that fills the memory.
    #[test]
    fn many_objects_do_not_take_more_than_fits() {
        let many = format!("[{}{{}}]", "{},".repeat(100_000));
        assert_eq!(json(&["a"], Overwrite::Always, &many), Err(Unwritable::TooLong));
        let fitting = format!("[{}{{}}]", "{},".repeat(10_000));
        assert!(json(&["a"], Overwrite::Always, &fitting).is_ok());
    }

    #[test]
    fn a_field_of_a_form_is_set_and_all_else_stays_as_it_is_written() {
        let form = |overwrite, body: &str| {
            let placed = Placed { value: "a+\\ b", overwrite, placeholder: "shown" };
            String::from_utf8(in_form(body.as_bytes(), "to ken", placed)).unwrap()
        };
        let ours = "to%20ken=a%2B%5C%20b";
        for (body, expected) in [
            ("", ours.to_owned()),
            ("a=%zz&b=+x&c", format!("a=%zz&b=+x&c&{ours}")),
            ("to+ken=1&a=2&to%20ken=3&%74o%20ken", format!("a=2&{ours}")),
            ("&&a=1&", format!("a=1&{ours}")),
        ] {
            assert_eq!(form(Overwrite::Always, body), expected, "{body}");
        }
        assert_eq!(form(Overwrite::IfAbsent, "to+ken=1&a=2"), "to+ken=1&a=2");
        assert_eq!(form(Overwrite::IfAbsent, "a=2"), format!("a=2&{ours}"));
        assert_eq!(form(Overwrite::IfAbsent, "to+ken=%73hown"), ours);
        assert_eq!(form(Overwrite::IfAbsent, "to+ken=shown="), "to+ken=shown=");
    }
}
