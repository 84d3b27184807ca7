//! Conditions over answers, part by part.

use http::StatusCode;

use super::Loader;
use crate::recipe::condition::{Condition, JsonTest, Part, StatusSet};
use crate::recipe::{CookieName, written};

impl<'a> Loader<'a> {
    pub(super) fn condition(&mut self, at: &str, condition: &written::Condition) -> Condition {
        let mut parts = Vec::new();
        if !condition.status.is_empty() {
            let sets = condition.status.iter().enumerate();
            parts.push(Part::Status(
                sets.filter_map(|(index, set)| self.status(&format!("{at}/status/{index}"), set))
                    .collect(),
            ));
        }
        for (index, test) in condition.header.iter().enumerate() {
            let at = format!("{at}/header/{index}");
            let matches =
                test.matches.as_ref().map(|text| self.regex(&format!("{at}/matches"), text));
            if let Some(name) = self.header_name(&format!("{at}/name"), &test.name) {
                parts.push(Part::Header { name, matches: matches.flatten() });
            }
        }
        for (index, test) in condition.json.iter().enumerate() {
            parts.extend(self.json_test(&format!("{at}/json/{index}"), test));
        }
        if let Some(body) = &condition.body {
            parts.extend(self.regex(&format!("{at}/body"), body).map(Part::Body));
        }
        for (index, test) in condition.set_cookie.iter().enumerate() {
            let at = format!("{at}/set_cookie/{index}");
            let name = match (&test.name, &test.name_matches) {
                (Some(name), None) => Some(CookieName::Is(name.clone())),
                (None, Some(text)) => {
                    self.regex(&format!("{at}/name_matches"), text).map(CookieName::Matches)
                }
                _ => {
                    self.fault(&at, "a test has exactly one of `name`, `name_matches`");
                    None
                }
            };
            parts.extend(name.map(|name| Part::SetCookie { name, is: test.is }));
        }
        if !condition.methods.is_empty() {
            parts.push(Part::Methods(self.methods(at, &condition.methods)));
        }
        if !condition.paths.is_empty() {
            let mut patterns = Vec::new();
            for (index, path) in condition.paths.iter().enumerate() {
                patterns.extend(self.pattern(&format!("{at}/paths/{index}"), path, true));
            }
            parts.push(Part::Paths(patterns));
        }
        if !condition.all.is_empty() {
            parts.push(Part::All(self.conditions(&format!("{at}/all"), &condition.all)));
        }
        if !condition.any.is_empty() {
            parts.push(Part::Any(self.conditions(&format!("{at}/any"), &condition.any)));
        }
        if let Some(not) = &condition.not {
            parts.push(Part::Not(self.condition(&format!("{at}/not"), not)));
        }
        Condition { parts }
    }

    pub(super) fn conditions(
        &mut self,
        at: &str,
        conditions: &[written::Condition],
    ) -> Vec<Condition> {
        let conditions = conditions.iter().enumerate();
        conditions.map(|(index, each)| self.condition(&format!("{at}/{index}"), each)).collect()
    }

    pub(super) fn json_test(&mut self, at: &str, test: &written::JsonTest) -> Option<Part> {
        let pointer = self.pointer(&format!("{at}/at"), &test.at)?;
        let test = match (&test.equals, &test.one_of, test.exists, &test.matches) {
            (Some(value), None, None, None) => JsonTest::OneOf(vec![value.clone()]),
            (None, Some(values), None, None) => JsonTest::OneOf(values.clone()),
            (None, None, Some(exists), None) => JsonTest::Exists(exists),
            (None, None, None, Some(text)) => {
                JsonTest::Matches(self.regex(&format!("{at}/matches"), text)?)
            }
            _ => {
                self.fault(at, "a test has exactly one of `equals`, `one_of`, `exists`, `matches`");
                return None;
            }
        };
        Some(Part::Json { at: pointer, test })
    }

    pub(super) fn status(&mut self, at: &str, status: &written::Status) -> Option<StatusSet> {
        let set = match status {
            written::Status::Code(code) => StatusCode::from_u16(*code).ok().map(StatusSet::Code),
            written::Status::Class(text) => match text.as_bytes() {
                [digit @ b'1'..=b'5', b'x', b'x'] => {
                    Some(StatusSet::Class(u16::from(digit - b'0')))
                }
                _ => None,
            },
        };
        if set.is_none() {
            self.fault(at, "a status is a code (`401`) or a class (`\"4xx\"`)");
        }
        set
    }
}
