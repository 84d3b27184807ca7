//! What is on the cluster: Liveboards, answers and tables, and how TML adds to them.

use serde_json::Value;

use super::accounts::stable_guid;

/// The name of the Liveboard that nobody may read.
pub const PRIVATE_LIVEBOARD: &str = "Board Minutes";

/// So many objects fit; then an import is refused.
const OBJECTS_MAX: usize = 10_000;

/// Every object, in the order in which it was made.
#[derive(Debug)]
pub struct Library(Vec<Object>);

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    pub id: String,
    pub name: String,
    pub kind: Kind,
    pub org: u32,
    /// Nobody has been given access.
    pub private: bool,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Liveboard,
    Answer,
    Table,
}

/// What a search asks for; each field that is none matches all.
#[derive(Debug, Default)]
pub struct Search<'a> {
    pub kind: Option<Kind>,
    /// Case does not count, `%` stands for any text.
    pub pattern: Option<&'a str>,
    /// GUID or name.
    pub identifier: Option<&'a str>,
}

/// A TML document, as far as the cluster must understand it.
#[derive(Debug, PartialEq, Eq)]
pub struct Tml {
    pub kind: Kind,
    pub name: String,
}

impl Kind {
    /// The name in v1.
    pub fn v1(self) -> &'static str {
        match self {
            Kind::Liveboard => "PINBOARD_ANSWER_BOOK",
            Kind::Answer => "QUESTION_ANSWER_BOOK",
            Kind::Table => "LOGICAL_TABLE",
        }
    }

    /// The name in v2.
    pub fn v2(self) -> &'static str {
        match self {
            Kind::Liveboard => "LIVEBOARD",
            Kind::Answer => "ANSWER",
            Kind::Table => "LOGICAL_TABLE",
        }
    }

    /// By its name in either version.
    pub fn named(name: &str) -> Option<Self> {
        let kinds = [Kind::Liveboard, Kind::Answer, Kind::Table];
        kinds.into_iter().find(|kind| kind.v1() == name || kind.v2() == name)
    }

    fn in_tml(name: &str) -> Option<Self> {
        match name {
            "liveboard" | "pinboard" => Some(Kind::Liveboard),
            "answer" => Some(Kind::Answer),
            "table" | "worksheet" | "model" | "view" => Some(Kind::Table),
            _ => None,
        }
    }
}

impl Default for Library {
    fn default() -> Self {
        let object = |name: &str, kind, org| Object {
            id: stable_guid(name),
            name: name.to_owned(),
            kind,
            org,
            private: name == PRIVATE_LIVEBOARD,
        };
        Self(vec![
            object("Sales Performance", Kind::Liveboard, 0),
            object("Support Tickets", Kind::Liveboard, 0),
            object(PRIVATE_LIVEBOARD, Kind::Liveboard, 0),
            object("Sandbox Board", Kind::Liveboard, 1),
            object("Retail Sales", Kind::Table, 0),
        ])
    }
}

impl Library {
    /// The readable objects of an org that a search asks for.
    pub fn found(&self, org: u32, search: &Search<'_>) -> Vec<Object> {
        let readable = self.0.iter().filter(|object| object.org == org && !object.private);
        readable.filter(|object| search.matches(object)).cloned().collect()
    }

    /// The object of this GUID or name, readable or not.
    pub fn object(&self, org: u32, identifier: &str) -> Option<Object> {
        let is = |object: &&Object| object.id == identifier || object.name == identifier;
        self.0.iter().filter(|object| object.org == org).find(is).cloned()
    }

    /// Adds what a TML document describes; none when the cluster is full.
    pub fn import(&mut self, tml: &Tml, org: u32, id: String) -> Option<Object> {
        if self.0.len() >= OBJECTS_MAX {
            return None;
        }
        let object = Object { id, name: tml.name.clone(), kind: tml.kind, org, private: false };
        self.0.push(object.clone());
        Some(object)
    }
}

impl Search<'_> {
    fn matches(&self, object: &Object) -> bool {
        self.kind.is_none_or(|kind| kind == object.kind)
            && self.pattern.is_none_or(|pattern| matches_pattern(pattern, &object.name))
            && self.identifier.is_none_or(|wanted| wanted == object.id || wanted == object.name)
    }
}

fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut parts = pattern.split('%');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

impl Tml {
    /// Reads TML in JSON, or in the block style of YAML that ThoughtSpot exports.
    pub fn read(text: &str) -> Option<Self> {
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(fields)) => fields.iter().find_map(|(key, value)| {
                let name = value.get("name")?.as_str()?.to_owned();
                Some(Self { kind: Kind::in_tml(key)?, name })
            }),
            _ => Self::read_yaml(text),
        }
    }

    fn read_yaml(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let kind = lines.by_ref().find_map(|line| Kind::in_tml(line.strip_suffix(':')?))?;
        let name = lines
            .take_while(|line| line.starts_with(' '))
            .find_map(|line| line.strip_prefix("  name:"))?;
        Some(Self { kind, name: name.trim().trim_matches('"').to_owned() })
    }
}

/// The texts in a list as v1 clients write it: JSON, or as Python prints a list of strings, which
/// ThoughtSpot takes as well.
pub fn listed_texts(list: &str) -> Option<Vec<String>> {
    if let Ok(texts) = serde_json::from_str(list) {
        return Some(texts);
    }
    let mut rest = list.trim().strip_prefix('[')?.chars();
    let mut texts = Vec::new();
    loop {
        match rest.next()? {
            ']' => return Some(texts),
            quote @ ('\'' | '"') => texts.push(quoted_text(&mut rest, quote)?),
            _ => {}
        }
    }
}

fn quoted_text(rest: &mut std::str::Chars<'_>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '\\' => text.push(match rest.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            character if character == quote => return Some(text),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_with_per_cent_for_any_text() {
        for pattern in ["sales performance", "Sales%", "%form%", "%Performance", "s%l%e%"] {
            assert!(matches_pattern(pattern, "Sales Performance"), "{pattern}");
        }
        for pattern in ["Sales", "%sales", "performance%", "s%x%e"] {
            assert!(!matches_pattern(pattern, "Sales Performance"), "{pattern}");
        }
    }

    #[test]
    fn lists_are_read_as_json_and_as_python_prints_them() {
        let texts = vec![r#"{"answer": {"name": "It's 5 % \n"}}"#.to_owned(), "b".to_owned()];
        assert_eq!(listed_texts(&serde_json::to_string(&texts).unwrap()), Some(texts.clone()));
        let python = r#"['{"answer": {"name": "It\'s 5 % \\n"}}', "b"]"#;
        assert_eq!(listed_texts(python), Some(texts));
        assert_eq!(listed_texts("['open"), None);
    }

    #[test]
    fn tml_is_read_from_json_and_yaml() {
        let tml = Tml { kind: Kind::Liveboard, name: "Mine".to_owned() };
        assert_eq!(
            Tml::read(r#"{"guid": "1", "liveboard": {"name": "Mine"}}"#).as_ref(),
            Some(&tml)
        );
        assert_eq!(Tml::read("guid: 1\nliveboard:\n  name: Mine\n").as_ref(), Some(&tml));
        assert_eq!(Tml::read("no TML"), None);
    }
}
