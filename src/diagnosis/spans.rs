//! One TOML text as plain values, and where each key and each value stands in the text.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::pointer::Pointer;

/// Where one entry stands, in bytes of the text.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The key; for a list's element the element itself.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// What a text says and where.
pub(super) struct Reading {
    pub(super) value: Value,
    pub(super) spans: HashMap<Pointer, Span>,
    /// Numbers that no value of ours can hold: where, and what is wrong with them.
    pub(super) unreadable: Vec<(Pointer, &'static str)>,
}

impl Reading {
    pub(super) fn of(table: &DeTable<'_>) -> Self {
        let mut reading =
            Self { value: Value::Null, spans: HashMap::new(), unreadable: Vec::new() };
        reading.value = reading.table(table, &Pointer::root());
        reading
    }

    fn table(&mut self, table: &DeTable<'_>, at: &Pointer) -> Value {
        let mut entries = Map::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let entry = at.join(name);
            let span = Span { key: key.span(), value: value.span() };
            self.spans.insert(entry.clone(), span);
            entries.insert(name.to_owned(), self.value(value, &entry));
        }
        Value::Object(entries)
    }

    fn list(&mut self, list: &DeArray<'_>, at: &Pointer) -> Value {
        let elements = list.iter().enumerate().map(|(index, value)| {
            let element = at.join(index);
            let span = Span { key: value.span(), value: value.span() };
            self.spans.insert(element.clone(), span);
            self.value(value, &element)
        });
        Value::Array(elements.collect())
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, at: &Pointer) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(integer) => match number(integer) {
                Some(number) => Value::Number(number),
                None => self.unreadable(at, "this integer is too large"),
            },
            DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
                Some(number) => Value::Number(number),
                None => self.unreadable(at, "this is not a finite number"),
            },
            // The form in which the TOML crate itself hands a date to serde.
            DeValue::Datetime(date) => serde_json::json!({ DATE_KEY: date.to_string() }),
            DeValue::Array(list) => self.list(list, at),
            DeValue::Table(table) => self.table(table, at),
        }
    }

    fn unreadable(&mut self, at: &Pointer, message: &'static str) -> Value {
        self.unreadable.push((at.clone(), message));
        Value::Null
    }
}

/// The key under which a TOML date stands in a plain value.
pub(super) const DATE_KEY: &str = "$__toml_private_datetime";

fn number(integer: &DeInteger<'_>) -> Option<Number> {
    let (digits, radix) = (integer.as_str(), integer.radix());
    let signed = i64::from_str_radix(digits, radix).map(Number::from);
    signed.or_else(|_| u64::from_str_radix(digits, radix).map(Number::from)).ok()
}
