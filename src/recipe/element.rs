//! The way to an element of an XML body.

use std::fmt;

/// The names of elements from the root on: `/Envelope/Header/{urn:x}context/token`. They are local
/// names: which prefix a client has for a namespace is its own affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementPath(Vec<Element>);

/// One element on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its local name; nothing: the first element there, whatever it is called.
    pub name: Option<String>,
    /// The namespace in which it is made where it is missing; nothing: that of its parent.
    pub namespace: Option<String>,
}

impl ElementPath {
    /// Parses a way: names behind `/`, `*` for the first element, and before a name `{namespace}`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut elements = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some(named) = rest.strip_prefix('/') else {
                return Err("a way to an element starts with `/`: `/Envelope/Header`".to_owned());
            };
            let (namespace, named) = match named.strip_prefix('{') {
                None => (None, named),
                Some(braced) => {
                    let (namespace, named) = braced.split_once('}').ok_or("a `}` is missing")?;
                    (Some(namespace.to_owned()), named)
                }
            };
            let (name, after) = named.split_at(named.find('/').unwrap_or(named.len()));
            let name = match name {
                "*" if namespace.is_none() => None,
                name if is_local_name(name) => Some(name.to_owned()),
                name => return Err(format!("`{name}` is no name of an element without a prefix")),
            };
            elements.push(Element { name, namespace });
            rest = after;
        }
        match elements.is_empty() {
            true => Err("the way to an element names one".to_owned()),
            false => Ok(Self(elements)),
        }
    }

    /// The elements from the root on; at least one.
    pub fn elements(&self) -> &[Element] {
        &self.0
    }
}

/// Whether this is a name without a colon (Namespaces in XML 1.0 section 3), of the characters that
/// names really have.
fn is_local_name(name: &str) -> bool {
    let is_letter = |one: char| one.is_alphabetic() || one == '_';
    name.starts_with(is_letter)
        && name.chars().all(|one| is_letter(one) || one.is_numeric() || one == '-' || one == '.')
}

impl fmt::Display for ElementPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Element { name, namespace } in &self.0 {
            out.write_str("/")?;
            if let Some(namespace) = namespace {
                write!(out, "{{{namespace}}}")?;
            }
            out.write_str(name.as_deref().unwrap_or("*"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_read_and_written() {
        for text in ["/a", "/Envelope/Header/{http://x/y?z}s-1.b/_c", "/m/*/{}x"] {
            assert_eq!(ElementPath::parse(text).unwrap().to_string(), text);
        }
        let way = ElementPath::parse("/*/{urn:a}b").unwrap();
        let expected = [
            Element { name: None, namespace: None },
            Element { name: Some("b".to_owned()), namespace: Some("urn:a".to_owned()) },
        ];
        assert_eq!(way.elements(), expected);
    }

    #[test]
    fn what_cannot_be_a_way_is_refused() {
        for text in [
            "",
            "/",
            "a",
            "a/b",
            "/a/",
            "//a",
            "/s:a",
            "/a b",
            "/1a",
            "/**",
            "/{urn:x}*",
            "/{urn:x",
            "/{urn:x}",
            "/a[1]",
            "/<a>",
            "/@a",
        ] {
            assert!(ElementPath::parse(text).is_err(), "{text}");
        }
    }
}
