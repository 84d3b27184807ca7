//! Path patterns (`*` one segment, `**` the rest) and JSON pointers, with `*` for every element.

use std::fmt;

use serde_json::Value;

/// A pattern over canonical paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    ignore_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exactly(String),
    Any,
    Rest,
}

impl PathPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A sentence, when the pattern does not start with `/` or goes on behind `**`.
    pub fn parse(text: &str, ignore_case: bool) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err("a path starts with `/`".to_owned());
        };
        let mut segments = Vec::new();
        for segment in path.split('/') {
            if segments.last() == Some(&Segment::Rest) {
                return Err("`**` stands for the rest of a path: nothing can follow".to_owned());
            }
            segments.push(match segment {
                "*" => Segment::Any,
                "**" => Segment::Rest,
                text if text.contains('*') => {
                    return Err("`*` and `**` stand for whole segments".to_owned());
                }
                text => Segment::Exactly(text.to_owned()),
            });
        }
        Ok(Self { segments, ignore_case })
    }

    /// Whether the canonical `path` fits.
    pub fn matches(&self, path: &str) -> bool {
        let mut given = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in &self.segments {
            match (segment, given.next()) {
                (Segment::Rest, _) => return true,
                (_, None) => return false,
                (Segment::Any, Some(_)) => {}
                (Segment::Exactly(wanted), Some(text)) => {
                    let same = match self.ignore_case {
                        true => wanted.eq_ignore_ascii_case(text),
                        false => wanted == text,
                    };
                    if !same {
                        return false;
                    }
                }
            }
        }
        given.next().is_none()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Exactly(text) => write!(out, "/{text}")?,
                Segment::Any => out.write_str("/*")?,
                Segment::Rest => out.write_str("/**")?,
            }
        }
        Ok(())
    }
}

/// A JSON pointer (RFC 6901), in masks with `*` for every element of an array or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Parses a pointer.
    ///
    /// # Errors
    /// A sentence, when the text cannot be a pointer.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("a JSON pointer starts with `/`: `/{}`", text.replace('.', "/")));
        };
        path.split('/').map(unescape).collect::<Result<_, _>>().map(Self)
    }

    /// The names and numbers on the way.
    pub fn tokens(&self) -> &[String] {
        &self.0
    }

    /// The value that stands there.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, token| match value {
            Value::Object(members) => members.get(token),
            Value::Array(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Calls `change` on every value that stands there, `*` meaning every element.
    pub fn for_each_mut(&self, value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
        visit(&self.0, value, change);
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.0 {
            write!(out, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

fn visit(tokens: &[String], value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    let Some((token, rest)) = tokens.split_first() else {
        return change(value);
    };
    match value {
        Value::Object(members) if token == "*" => {
            members.values_mut().for_each(|value| visit(rest, value, change));
        }
        Value::Array(items) if token == "*" => {
            items.iter_mut().for_each(|value| visit(rest, value, change));
        }
        Value::Object(members) => {
            if let Some(value) = members.get_mut(token) {
                visit(rest, value, change);
            }
        }
        Value::Array(items) => {
            if let Some(value) = token.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                visit(rest, value, change);
            }
        }
        _ => {}
    }
}

fn unescape(token: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '~' => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err("in a JSON pointer `~` is written `~0` and `/` is `~1`".to_owned()),
            },
            character => character,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        let fits =
            |pattern: &str, path: &str| PathPattern::parse(pattern, false).unwrap().matches(path);
        assert!(fits("/a/*/c", "/a/b/c"));
        assert!(!fits("/a/*/c", "/a/b/b/c"));
        assert!(fits("/a/**", "/a/b/c"));
        assert!(fits("/a/**", "/a"));
        assert!(!fits("/a", "/a/"));
        assert!(!fits("/a", "/A"));
        assert!(PathPattern::parse("/a", true).unwrap().matches("/A"));
        assert!(PathPattern::parse("a", false).is_err());
        assert!(PathPattern::parse("/**/a", false).is_err());
    }

    #[test]
    fn a_pointer_finds_and_changes_what_it_names() {
        let mut value = json!({"a~/b": [{"t": "x"}, {"t": "y"}], "n": null});
        assert_eq!(Pointer::parse("/a~0~1b/1/t").unwrap().find(&value), Some(&json!("y")));
        assert_eq!(Pointer::parse("/n/x").unwrap().find(&value), None);
        assert_eq!(Pointer::parse("").unwrap().find(&json!("whole")), Some(&json!("whole")));
        Pointer::parse("/*/*/t")
            .unwrap()
            .for_each_mut(&mut value, &mut |found| *found = json!("-"));
        assert_eq!(value, json!({"a~/b": [{"t": "-"}, {"t": "-"}], "n": null}));
    }

    #[test]
    fn what_cannot_be_a_pointer_is_refused() {
        assert!(Pointer::parse("user.authtoken").unwrap_err().contains("`/user/authtoken`"));
        assert!(Pointer::parse("/a~2").is_err());
    }
}
