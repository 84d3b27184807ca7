//! Reads a JSON schema the way schemars writes it: references, types, alternatives.

use serde_json::{Map, Value};

use super::format;
use super::spans::DATE_KEY;

/// How many references and parts of one place are followed; our own schemas need a handful.
const PARTS_MAX: usize = 64;

/// A schema and the definitions that its references name.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'s>(pub(super) &'s Value);

pub(super) type Keywords = Map<String, Value>;

impl<'s> Schemas<'s> {
    /// The keywords of `schema`, of what it refers to and of what it is put together from.
    /// Alternatives stay as they are.
    pub(super) fn parts(self, schema: &'s Value) -> Vec<&'s Keywords> {
        let (mut open, mut parts) = (vec![schema], Vec::new());
        while let Some(Value::Object(keywords)) = open.pop() {
            if parts.len() == PARTS_MAX {
                break;
            }
            parts.push(keywords);
            open.extend(keywords.get("$ref").and_then(|target| self.target(target)));
            open.extend(list(keywords, "allOf"));
        }
        parts
    }

    fn target(self, reference: &Value) -> Option<&'s Value> {
        self.0.pointer(reference.as_str()?.strip_prefix('#')?)
    }

    /// The alternatives that a value may choose from, for each choice that `part` offers. The
    /// alternative "absent" of an optional key is left out: TOML has no null.
    pub(super) fn choices(self, part: &'s Keywords) -> Vec<Vec<&'s Value>> {
        let offered = ["anyOf", "oneOf"].into_iter().map(|keyword| list(part, keyword));
        offered
            .map(|branches| branches.flat_map(|branch| self.leaves(branch, 0)).collect::<Vec<_>>())
            .filter(|branches| !branches.is_empty())
            .collect()
    }

    /// The alternatives inside an alternative, where it offers nothing else.
    fn leaves(self, branch: &'s Value, depth: usize) -> Vec<&'s Value> {
        let parts = self.parts(branch);
        if self.kinds(branch).is_some_and(|kinds| kinds == ["null"]) {
            return Vec::new();
        }
        let plain = |part: &&Keywords| part.contains_key("type") || part.contains_key("properties");
        if depth == PARTS_MAX || parts.iter().any(plain) {
            return vec![branch];
        }
        let inner: Vec<_> = parts
            .iter()
            .flat_map(|part| list(part, "anyOf").chain(list(part, "oneOf")))
            .flat_map(|inner| self.leaves(inner, depth + 1))
            .collect();
        if inner.is_empty() { vec![branch] } else { inner }
    }

    /// The JSON types that `schema` allows; nothing where it allows any.
    pub(super) fn kinds(self, schema: &'s Value) -> Option<Vec<&'s str>> {
        let parts = self.parts(schema);
        parts.iter().find_map(|part| {
            let literal = part.get("const").or_else(|| list(part, "enum").next());
            match part.get("type") {
                Some(Value::String(kind)) => Some(vec![kind.as_str()]),
                Some(Value::Array(kinds)) => Some(kinds.iter().filter_map(Value::as_str).collect()),
                _ if part.contains_key("properties") => Some(vec!["object"]),
                _ => literal.map(|literal| vec![kind(literal)]),
            }
        })
    }

    /// The closed list of strings that `schema` allows; nothing where it allows others too.
    pub(super) fn words(self, schema: &'s Value) -> Option<Vec<&'s str>> {
        self.parts(schema).into_iter().find_map(|part| {
            let single = part.get("const").into_iter();
            let words: Vec<_> =
                single.chain(list(part, "enum")).filter_map(Value::as_str).collect();
            (!words.is_empty()).then_some(words)
        })
    }

    /// The properties that `schema` itself names.
    pub(super) fn properties(self, schema: &'s Value) -> Vec<(&'s str, &'s Value)> {
        let parts = self.parts(schema).into_iter();
        let named = parts.filter_map(|part| part.get("properties")?.as_object());
        named.flatten().map(|(name, schema)| (name.as_str(), schema)).collect()
    }

    /// The keys that `schema` cannot do without.
    pub(super) fn required(self, schema: &'s Value) -> Vec<&'s str> {
        let parts = self.parts(schema).into_iter();
        parts.flat_map(|part| list(part, "required")).filter_map(Value::as_str).collect()
    }

    /// How a person calls what `schema` allows.
    pub(super) fn noun(self, schema: &'s Value) -> String {
        let parts = self.parts(schema);
        let format = parts.iter().find_map(|part| part.get("format")?.as_str());
        let kinds = self.kinds(schema).unwrap_or_default();
        let mut nouns: Vec<_> = kinds
            .into_iter()
            .filter(|kind| *kind != "null")
            .map(|kind| match (kind, format.and_then(format::noun)) {
                ("string", Some(noun)) => noun,
                (kind, _) => kind_noun(kind),
            })
            .collect();
        nouns.dedup();
        nouns.join(" or ")
    }

    /// An example of what `schema` allows, as TOML.
    pub(super) fn example(self, schema: &'s Value) -> Option<String> {
        let parts = self.parts(schema);
        let example = parts.iter().find_map(|part| list(part, "examples").next())?;
        serde_json::from_value::<toml::Value>(example.clone()).ok().map(|value| value.to_string())
    }
}

/// The elements of a keyword that is a list.
pub(super) fn list<'s>(keywords: &'s Keywords, keyword: &str) -> std::slice::Iter<'s, Value> {
    keywords.get(keyword).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
}

/// The JSON type of a value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(entries) if entries.contains_key(DATE_KEY) => "date",
        Value::Object(_) => "object",
    }
}

/// How a person calls a JSON type.
pub(super) fn kind_noun(kind: &str) -> &'static str {
    match kind {
        "boolean" => "`true` or `false`",
        "number" => "a number",
        "integer" => "an integer",
        "string" => "a string",
        "array" => "a list",
        "date" => "a date",
        "null" => "nothing",
        _ => "a table",
    }
}

/// Whether a value of type `found` passes where one of type `allowed` is expected.
pub(super) fn allows(allowed: &str, found: &str) -> bool {
    allowed == found || allowed == "number" && found == "integer"
}

/// "`a`, `b` or `c`".
pub(super) fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
