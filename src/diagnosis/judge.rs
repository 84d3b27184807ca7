//! Walks a value beside the schema of what it should be and collects everything that differs.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::alternatives::{Choice, choose};
use super::constraints;
use super::pointer::Pointer;
use super::structure::{Keywords, Schemas, allows, kind, kind_noun, one_of};
use super::suggestion;

/// How many known keys a help lists; beyond that the list hides what matters.
const KEYS_LISTED_MAX: usize = 12;

/// Whether a text is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Missing keys are faults.
    Whole,
    /// Missing keys may stand in another layer.
    Layer,
}

/// Which part of an entry a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// What sort of difference a finding is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// A key that the schema does not know, and the one that was probably meant.
    UnknownKey { meant: Option<String> },
    /// A key that must be there.
    MissingKey,
    /// A value of another type.
    WrongKind,
    /// A value of the right type that is not allowed.
    WrongValue,
}

/// One difference between a value and its schema, not yet tied to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) pointer: Pointer,
    pub(crate) place: Place,
    pub(crate) difference: Difference,
    pub(crate) message: String,
    pub(crate) helps: Vec<String>,
}

/// Everything in which `value` differs from the schema of `T`.
pub(crate) fn findings<T: JsonSchema>(value: &Value, scope: Scope) -> Vec<Finding> {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = generator.into_root_schema_for::<T>().to_value();
    let judge = Judge { schemas: Schemas(&schema), scope };
    let mut found = Vec::new();
    judge.value(value, &schema, &Pointer::root(), &mut found);
    found
}

#[derive(Clone, Copy)]
pub(super) struct Judge<'s> {
    pub(super) schemas: Schemas<'s>,
    pub(super) scope: Scope,
}

impl<'s> Judge<'s> {
    pub(super) fn value(
        self,
        value: &Value,
        schema: &'s Value,
        at: &Pointer,
        found: &mut Vec<Finding>,
    ) {
        if let Some(finding) = self.wrong_kind(value, schema, at) {
            return found.push(finding);
        }
        let mut parts = Vec::new();
        let mut open = self.schemas.parts(schema);
        while let Some(part) = open.pop() {
            parts.push(part);
            for branches in self.schemas.choices(part) {
                match choose(self, value, &branches, self.schemas.example(schema), at) {
                    Choice::Branch(branch) => open.extend(self.schemas.parts(branch)),
                    Choice::Undecided => return,
                    Choice::Fault(finding) => return found.push(*finding),
                }
            }
        }
        let before = found.len();
        for part in &parts {
            found.extend(constraints::fault(value, part, at));
        }
        if found.len() > before {
            return;
        }
        match value {
            Value::Object(_) if kind(value) == "object" => self.table(value, &parts, at, found),
            Value::Array(elements) => self.list(elements, &parts, at, found),
            _ => {}
        }
    }

    /// The finding that a value's type is not among those that its schema allows.
    fn wrong_kind(self, value: &Value, schema: &'s Value, at: &Pointer) -> Option<Finding> {
        let kinds = self.schemas.kinds(schema)?;
        if kinds.iter().any(|allowed| allows(allowed, kind(value))) {
            return None;
        }
        let example = self.schemas.example(schema);
        Some(wrong_kind(value, &self.schemas.noun(schema), example, at))
    }

    fn list(
        self,
        elements: &[Value],
        parts: &[&'s Keywords],
        at: &Pointer,
        out: &mut Vec<Finding>,
    ) {
        let Some(schema) = parts.iter().find_map(|part| part.get("items")) else { return };
        for (index, element) in elements.iter().enumerate() {
            self.value(element, schema, &at.join(index), out);
        }
    }

    fn table(self, value: &Value, parts: &[&'s Keywords], at: &Pointer, out: &mut Vec<Finding>) {
        let Some(entries) = value.as_object() else { return };
        let known = known_keys(parts);
        let free: Vec<&str> =
            known.iter().copied().filter(|name| !entries.contains_key(*name)).collect();
        let mut meant = Vec::new();
        for (key, value) in entries {
            let entry = at.join(key);
            let schemas = entry_schemas(parts, key);
            if schemas.is_empty() && closed(parts) {
                let nearest = suggestion(key, &free);
                out.push(unknown_key(key, nearest.clone(), &known, &entry));
                meant.extend(nearest);
            }
            for name_schema in parts.iter().filter_map(|part| part.get("propertyNames")) {
                self.name(key, name_schema, &entry, out);
            }
            for schema in schemas {
                self.value(value, schema, &entry, out);
            }
        }
        if self.scope == Scope::Layer {
            return;
        }
        for key in required_keys(parts) {
            // A key that is only misspelt is not missing as well.
            if !entries.contains_key(key) && !meant.iter().any(|name| name == key) {
                out.push(missing_key(key, at));
            }
        }
    }

    fn name(self, key: &str, schema: &'s Value, at: &Pointer, out: &mut Vec<Finding>) {
        let mut found = Vec::new();
        self.value(&Value::from(key), schema, at, &mut found);
        out.extend(found.into_iter().map(|finding| Finding { place: Place::Key, ..finding }));
    }
}

fn known_keys<'s>(parts: &[&'s Keywords]) -> Vec<&'s str> {
    let named = parts.iter().filter_map(|part| part.get("properties")?.as_object());
    let mut known: Vec<_> = named.flat_map(|named| named.keys().map(String::as_str)).collect();
    known.sort_unstable();
    known.dedup();
    known
}

fn required_keys<'s>(parts: &[&'s Keywords]) -> Vec<&'s str> {
    let required = parts.iter().flat_map(|part| super::structure::list(part, "required"));
    let mut required: Vec<_> = required.filter_map(Value::as_str).collect();
    required.sort_unstable();
    required.dedup();
    required
}

/// The schemas that an entry must satisfy: by its name, by its name's pattern, else by default.
fn entry_schemas<'s>(parts: &[&'s Keywords], key: &str) -> Vec<&'s Value> {
    let named = parts.iter().filter_map(|part| part.get("properties")?.get(key));
    let patterns = parts.iter().filter_map(|part| part.get("patternProperties")?.as_object());
    let matching = |(pattern, _): &(&String, &Value)| {
        regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(key))
    };
    let matched = patterns.flatten().filter(matching).map(|(_, schema)| schema);
    let schemas: Vec<_> = named.chain(matched).collect();
    if !schemas.is_empty() {
        return schemas;
    }
    let others = parts.iter().filter_map(|part| part.get("additionalProperties"));
    others.filter(|schema| schema.is_object()).collect()
}

fn closed(parts: &[&Keywords]) -> bool {
    let shut = |part: &&Keywords| {
        ["additionalProperties", "unevaluatedProperties"]
            .iter()
            .any(|keyword| part.get(*keyword) == Some(&Value::Bool(false)))
    };
    parts.iter().any(shut)
}

/// "in `login.steps[0]`", or nothing at the top of a document.
pub(super) fn inside(at: Option<Pointer>) -> String {
    match at {
        Some(at) if at != Pointer::root() => format!(" in `{at}`"),
        _ => String::new(),
    }
}

pub(super) fn unknown_key(
    key: &str,
    nearest: Option<String>,
    known: &[&str],
    at: &Pointer,
) -> Finding {
    let help = match &nearest {
        Some(nearest) => Some(format!("did you mean `{nearest}`?")),
        None if known.is_empty() => None,
        None if known.len() > KEYS_LISTED_MAX => None,
        None => Some(format!("the known keys are {}", one_of(known).replace(" or ", " and "))),
    };
    Finding {
        message: format!("unknown key `{key}`{}", inside(at.parent())),
        pointer: at.clone(),
        place: Place::Key,
        difference: Difference::UnknownKey { meant: nearest },
        helps: help.into_iter().collect(),
    }
}

fn missing_key(key: &str, at: &Pointer) -> Finding {
    Finding {
        message: format!("missing key `{key}`{}", inside(Some(at.clone()))),
        pointer: at.clone(),
        place: Place::Key,
        difference: Difference::MissingKey,
        helps: Vec::new(),
    }
}

pub(super) fn wrong_kind(
    value: &Value,
    noun: &str,
    example: Option<String>,
    at: &Pointer,
) -> Finding {
    let name = at.name().filter(|name| name.parse::<usize>().is_err());
    let of = name.map(|name| format!(" for `{name}`")).unwrap_or_default();
    let help = match (value, example) {
        (_, Some(example)) => Some(format!("for example {example}")),
        (Value::String(text), None) if text.parse::<i64>().is_ok() && noun.contains("integer") => {
            Some("write it without quotes".to_owned())
        }
        (Value::Number(_), None) if noun.contains("string") => Some("put it in quotes".to_owned()),
        _ => None,
    };
    Finding {
        message: format!("expected {noun}{of}, found {}", kind_noun(kind(value))),
        pointer: at.clone(),
        place: Place::Value,
        difference: Difference::WrongKind,
        helps: help.into_iter().collect(),
    }
}
