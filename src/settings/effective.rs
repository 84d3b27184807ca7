//! The configuration as it counts: every value with what has set it. Secrets are not read for it: of
//! them it shows where they are kept.

use serde_json::{Map, Value, json};

use super::Loaded;
use super::reference::schema;
use crate::diagnosis::Pointer;

/// Deeper than any configuration; the schema refers to itself nowhere.
const DEPTH_MAX: usize = 12;

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// Its key, as an operator writes it: `limits.connections_max`, `routes[0].path`.
    pub key: String,
    /// What it is. Of a text that may be private its length alone.
    pub value: Value,
    /// What has set it.
    pub origin: Origin,
}

/// What has set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File {
        /// Its path, as it was given.
        path: String,
        /// The line, counted from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
    /// Nobody: it is what holds where nothing is said.
    Default,
}

impl Loaded {
    /// Every value that is set, and every one that has a default, by its key.
    pub fn effective(&self) -> Vec<Effective> {
        let schema = schema();
        let mut listing = Listing { loaded: self, schema: &schema, all: Vec::new() };
        listing.list(&Pointer::root(), Some(self.layers.merged()), &schema, 0);
        listing.all.sort_by(|one, other| one.key.cmp(&other.key));
        listing.all
    }

    /// The files, as they were given and found, in the order in which they count.
    pub fn file_names(&self) -> Vec<String> {
        self.layers.documents().map(|document| document.name().display().to_string()).collect()
    }
}

struct Listing<'l> {
    loaded: &'l Loaded,
    /// The whole schema, which parts of it refer to.
    schema: &'l Value,
    all: Vec<Effective>,
}

impl<'l> Listing<'l> {
    fn list(&mut self, at: &Pointer, value: Option<&Value>, schema: &'l Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        match value {
            Some(Value::Object(entries)) if !is_reference(entries) => {
                let schema = self.resolved(schema);
                for (name, entry) in entries {
                    self.list(&at.join(name), Some(entry), below(schema, name), depth + 1);
                }
                self.defaults(at, Some(entries), schema, depth);
            }
            Some(Value::Array(elements)) if elements.iter().any(Value::is_object) => {
                let items = self.resolved(schema).get("items").unwrap_or(&Value::Null);
                for (index, element) in elements.iter().enumerate() {
                    self.list(&at.join(index), Some(element), items, depth + 1);
                }
            }
            Some(value) => self.push(at, shown(at, value), self.origin(at)),
            None => {
                let given = schema.get("default").filter(|default| !default.is_null());
                match given.or_else(|| self.resolved(schema).get("default")) {
                    Some(Value::Object(_)) | None => {
                        let schema = self.resolved(schema);
                        self.defaults(at, None, schema, depth);
                    }
                    Some(Value::Null) => {}
                    Some(default) => self.push(at, default.clone(), Origin::Default),
                }
            }
        }
    }

    /// What the table at `at` does not say. A table that has to be there to mean anything is not
    /// made up.
    fn defaults(
        &mut self,
        at: &Pointer,
        entries: Option<&Map<String, Value>>,
        schema: &'l Value,
        depth: usize,
    ) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let is_there = entries.is_some_and(|entries| entries.contains_key(name));
            if !is_there && property.get("default").is_some_and(|default| !default.is_null()) {
                self.list(&at.join(name), None, property, depth + 1);
            }
        }
    }

    /// What a schema refers to, whether or not the value may be absent.
    fn resolved(&self, mut schema: &'l Value) -> &'l Value {
        for _ in 0..DEPTH_MAX {
            let referred = schema.get("$ref").and_then(Value::as_str);
            let referred = referred.and_then(|name| self.schema.pointer(name.strip_prefix('#')?));
            let only = || {
                let alternatives = schema.get("anyOf")?.as_array()?;
                let is_null = |one: &&Value| one.get("type").is_some_and(|kind| kind == "null");
                let mut present = alternatives.iter().filter(|one| !is_null(one));
                present.next().filter(|_| present.next().is_none())
            };
            match referred.or_else(only) {
                Some(next) => schema = next,
                None => return schema,
            }
        }
        schema
    }

    fn origin(&self, at: &Pointer) -> Origin {
        match self.loaded.layers.set_by(at.as_str()) {
            Ok(variable) => Origin::Variable(variable),
            Err((path, line)) => Origin::File { path, line },
        }
    }

    fn push(&mut self, at: &Pointer, value: Value, origin: Origin) {
        self.all.push(Effective { key: key(at), value, origin });
    }
}

/// The schema of a table's entry.
fn below<'l>(schema: &'l Value, name: &str) -> &'l Value {
    let property = schema.get("properties").and_then(|properties| properties.get(name));
    let entries = schema.get("additionalProperties").filter(|entries| entries.is_object());
    property.or(entries).unwrap_or(&Value::Null)
}

/// Whether a table says where a secret is kept.
fn is_reference(entries: &Map<String, Value>) -> bool {
    ["file", "env", "credential", "command"].iter().any(|place| entries.contains_key(*place))
}

/// A value as it may be shown. The fields of an account may hold what its owner takes for private;
/// where a secret is kept is not.
fn shown(at: &Pointer, value: &Value) -> Value {
    let names: Vec<String> = at.names().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match (names.as_slice(), value) {
        (["upstreams", _, "accounts", ..], Value::String(text)) => {
            json!(format!("[{} characters]", text.chars().count()))
        }
        // A program's name tells which manager is asked; its arguments may tell more than that.
        (_, Value::Object(entries)) if entries.contains_key("command") => {
            let program = entries.get("command").and_then(|command| command.get(0));
            json!({ "command": program })
        }
        (["clients", _, "keys", ..], value) => with_short_digests(value),
        (_, value) => value.clone(),
    }
}

/// Of digests of keys as much as logs show.
fn with_short_digests(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.get(..DIGEST_CHARACTERS) {
            Some(beginning) if text.starts_with("sha256:") => json!(format!("{beginning}...")),
            _ => value.clone(),
        },
        Value::Array(elements) => elements.iter().map(with_short_digests).collect(),
        value => value.clone(),
    }
}

/// `sha256:` and twelve digits.
const DIGEST_CHARACTERS: usize = 19;

fn key(at: &Pointer) -> String {
    let mut key = String::new();
    for name in at.names() {
        match name.parse::<usize>() {
            Ok(index) => key.push_str(&format!("[{index}]")),
            Err(_) if key.is_empty() => key.push_str(&name),
            Err(_) => {
                key.push('.');
                key.push_str(&name);
            }
        }
    }
    key
}
