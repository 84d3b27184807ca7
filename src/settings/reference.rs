//! The reference of all keys, out of the schema that also judges them.

use std::fmt::Write;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::variables::VARIABLE_PREFIX;
use super::written::Written;

/// The sections in the order in which one reads them.
const SECTIONS: [&str; 17] = [
    "listeners",
    "clients",
    "access",
    "issuers",
    "upstreams",
    "routes",
    "limits",
    "timeouts",
    "reload",
    "state",
    "audit",
    "access_log",
    "traces",
    "admin",
    "health",
    "runtime",
    "log",
];

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the texts in src/settings/written.rs; `UPDATE=1 cargo test` writes it anew. -->

Doorward reads TOML files: `doorward run -c doorward.toml`. `-c` may be given more than once; a folder
`conf.d` beside the first file is read after them, its `*.toml` by name. `doorward check` judges all of it
and prints every fault with its place; a missing file, an unknown key or an unset variable is a fault.
`config/doorward.example.toml` shows every key.

- Later files add to earlier ones key by key. A list in a later file replaces the whole list.
- A relative path is relative to the folder of the file that it stands in.
- A key that stands in no list can be set by an environment variable, which overrides all files: levels
  are joined by `__`. Names that no variable can spell are found without regard to capitals and hyphens.
- A length of time is a text with its unit: `\"5s\"`, `\"500ms\"`, `\"1m 30s\"`.
- Nothing is filled into texts: a value with `${` in it is a fault.
- Secrets never stand in the configuration. They are kept in a file, an environment variable, a systemd
  credential or a password manager that a command asks, and the configuration says where.
";

/// The JSON schema of the configuration (draft 2020-12), for editors.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Written>().to_value()
}

/// The reference of all keys, as Markdown.
pub fn reference() -> String {
    let schema = schema();
    let mut writer = Writer { schema: &schema, out: INTRODUCTION.to_owned() };
    for section in SECTIONS {
        if let Some(property) = schema.pointer(&format!("/properties/{section}")) {
            writer.property(&[section.to_owned()], false, property);
        }
    }
    writer.out
}

/// What a key is for, in the words of its schema. `path` leads to it from the top; names that an
/// operator chooses stand for themselves.
pub fn explanation(path: &[&str]) -> Option<String> {
    let schema = schema();
    let writer = Writer { schema: &schema, out: String::new() };
    let (mut property, mut table) = (&schema, &schema);
    for name in path {
        property = match table.get("properties").and_then(|keys| keys.get(*name)) {
            Some(key) => key,
            None => named_entries(table)?,
        };
        table = writer.target(property);
        if let Some(items) = table.get("items") {
            table = writer.target(items);
        }
    }
    text(property, "description").or(text(table, "description"))
}

struct Writer<'s> {
    schema: &'s Value,
    out: String,
}

impl<'s> Writer<'s> {
    /// A key that holds tables gets a section, with the text of the key and that of the table. What
    /// stands in a list (`listed`) has no variable.
    fn property(&mut self, path: &[String], listed: bool, property: &'s Value) {
        let (mut path, mut target) = (path.to_vec(), self.target(property));
        let list = target.get("items").is_some();
        loop {
            if let Some(items) = target.get("items") {
                target = self.target(items);
            } else if let Some(entries) = named_entries(target) {
                target = self.target(entries);
                // The last level of names are keys of the table, not tables.
                if target.get("properties").is_some() || named_entries(target).is_some() {
                    path.push("NAME".to_owned());
                }
            } else {
                break;
            }
        }
        let heading =
            if list { format!("[[{}]]", path.join(".")) } else { format!("[{}]", path.join(".")) };
        self.line(&format!("\n## `{heading}`\n"));
        self.line(
            &text(property, "description").or(text(target, "description")).unwrap_or_default(),
        );
        self.keys(&path, list || listed, target);
    }

    /// First the keys of a table, those that must be there before the others, then its tables.
    fn keys(&mut self, path: &[String], list: bool, table: &'s Value) {
        let Some(properties) = table.get("properties").and_then(Value::as_object) else {
            return self.alternatives(table);
        };
        let required = |name: &String| {
            let required = table.get("required").and_then(Value::as_array);
            required.is_some_and(|keys| keys.iter().any(|key| key == name))
        };
        let mut entries: Vec<_> = properties.iter().collect();
        entries.sort_by_key(|(name, _)| !required(name));
        let (tables, plain): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, property)| self.is_table(property));
        for (name, property) in plain {
            self.card(path, list, name, property, required(name));
        }
        for (name, property) in tables {
            let mut path = path.to_vec();
            path.push(name.clone());
            self.property(&path, list, property);
        }
    }

    fn card(
        &mut self,
        path: &[String],
        list: bool,
        name: &str,
        property: &'s Value,
        required: bool,
    ) {
        let target = self.target(property);
        self.line(&format!("\n### `{name}`\n"));
        self.line(&text(property, "description").unwrap_or_default());
        self.line("");
        self.line(&format!("- Takes: {}", self.takes(target)));
        self.words(target);
        if let Some(element) = target.get("items") {
            self.forms(self.target(element), "  ");
        }
        let default = property.get("default").or(target.get("default")).filter(|one| !empty(one));
        match (required, default) {
            (true, _) => self.line("- Must be given."),
            (false, Some(default)) => self.line(&format!("- Default: `{}`", toml(default))),
            (false, None) => {}
        }
        let examples =
            property.get("examples").or(target.get("examples")).and_then(Value::as_array);
        if let (Some(examples), None) = (examples, default) {
            let examples: Vec<_> = examples.iter().map(|one| format!("`{}`", toml(one))).collect();
            self.line(&format!("- Example: {}", examples.join(", ")));
        }
        if !list && !matches!(kind(target), Some("array" | "object")) {
            let levels: Vec<_> =
                path.iter().map(String::as_str).chain([name]).map(str::to_uppercase).collect();
            self.line(&format!("- Variable: `{VARIABLE_PREFIX}{}`", levels.join("__")));
        }
    }

    /// The words of a closed list, each with its text.
    fn words(&mut self, target: &'s Value) {
        for word in alternatives(target) {
            if let Some(name) = word.get("const") {
                let description = text(word, "description").unwrap_or_default();
                self.line(&format!("  - `{}`: {description}", toml(name)));
            }
        }
    }

    /// The forms that a value may have, each with the keys of its table.
    fn alternatives(&mut self, target: &'s Value) {
        self.line("\nEach of its keys takes one of:\n");
        self.forms(target, "");
        if let Some(example) = target.get("examples").and_then(|examples| examples.get(0)) {
            self.line(&format!("\nFor example `password = {}`.", toml(example)));
        }
    }

    fn forms(&mut self, target: &'s Value, indent: &str) {
        for form in alternatives(target) {
            let Some(description) = text(form, "description") else { continue };
            let table = self.target(form);
            self.line(&format!("{indent}- {description}"));
            let properties = table.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let takes = self.takes(self.target(property));
                let description = text(property, "description").unwrap_or_default();
                self.line(&format!("{indent}  - `{name}` ({takes}): {description}"));
            }
        }
    }

    fn takes(&self, target: &Value) -> String {
        let number = |keyword: &str| target.get(keyword).and_then(Value::as_u64);
        match kind(target) {
            Some("string") if target.get("format").is_some() => {
                "a length of time with its unit".to_owned()
            }
            Some("string") => "text".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("integer") => match (number("minimum"), number("maximum")) {
                (Some(least), Some(most)) => format!("an integer from {least} to {most}"),
                _ => "an integer".to_owned(),
            },
            Some("number") => match (bound(target, "minimum"), bound(target, "maximum")) {
                (Some(least), Some(most)) => format!("a number from {least} to {most}"),
                _ => "a number".to_owned(),
            },
            Some("array") => {
                let element = target.get("items").map(|element| self.target(element));
                let has_forms = element.is_some_and(|one| alternatives(one).next().is_some());
                if has_forms { "a list, each of it one of" } else { "a list of text" }.to_owned()
            }
            Some("object") => "a table of text".to_owned(),
            _ if alternatives(target).any(|word| word.get("const").is_some()) => {
                "one of".to_owned()
            }
            // One of several simple ones, or else a table.
            _ => {
                let forms = alternatives(target).map(|form| self.target(form));
                let forms = forms.filter(|form| form.get("type").is_none_or(|kind| kind != "null"));
                let forms: Option<Vec<_>> = forms
                    .map(|form| kind(form).filter(|kind| *kind != "object").map(|_| form))
                    .collect();
                match forms.filter(|forms| !forms.is_empty()) {
                    None => "a table".to_owned(),
                    Some(forms) => {
                        let forms: Vec<_> = forms.iter().map(|form| self.takes(form)).collect();
                        forms.join(", ")
                    }
                }
            }
        }
    }

    fn is_table(&self, property: &'s Value) -> bool {
        let target = self.target(property);
        let inner = named_entries(target).map(|entries| self.target(entries));
        let deep =
            inner.is_some_and(|inner| inner.get("type").and_then(Value::as_str) != Some("string"));
        let element = target.get("items").map_or(target, |element| self.target(element));
        element.get("properties").is_some() || deep
    }

    /// What a property is in the end, whatever it refers to and whether or not it may be absent.
    fn target(&self, property: &'s Value) -> &'s Value {
        let reference = property.get("$ref").and_then(Value::as_str);
        let referred = reference.and_then(|name| self.schema.pointer(name.strip_prefix('#')?));
        if let Some(referred) = referred {
            return self.target(referred);
        }
        let absent = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
        let mut present = alternatives(property).filter(|one| !absent(one));
        match (present.next(), present.next()) {
            (Some(only), None) if only.get("const").is_none() => self.target(only),
            _ => property,
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.out, "{line}");
    }
}

fn alternatives(keywords: &Value) -> impl Iterator<Item = &Value> {
    let lists =
        ["oneOf", "anyOf"].into_iter().filter_map(|keyword| keywords.get(keyword)?.as_array());
    lists.flatten()
}

/// The schema of the entries of a table whose keys an operator chooses.
fn named_entries(target: &Value) -> Option<&Value> {
    target.get("additionalProperties").filter(|entries| entries.is_object())
}

fn bound(target: &Value, keyword: &str) -> Option<f64> {
    target.get(keyword).and_then(Value::as_f64)
}

/// The type that a value has when it is there.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    }
}

fn text(schema: &Value, keyword: &str) -> Option<String> {
    let text = schema.get(keyword)?.as_str()?;
    // Line ends inside a paragraph come from the width of the source.
    Some(text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n"))
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Object(entries) => entries.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        value => value.is_null(),
    }
}

fn toml(value: &Value) -> String {
    let value = serde_json::from_value::<toml::Value>(value.clone());
    value.map(|value| value.to_string()).unwrap_or_default()
}
