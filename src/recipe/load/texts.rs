//! The texts of a recipe, parsed once into what they stand for: templates, names, patterns,
//! pointers, durations.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Method};
use regex::Regex;

use super::{Loader, duration};
use crate::recipe::JsonTemplate;
use crate::recipe::pattern::{PathPattern, Pointer};
use crate::recipe::template::Template;

/// A compiled regular expression may take this much memory; recipes may come from strangers.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl<'a> Loader<'a> {
    pub(super) fn json(&mut self, at: &str, json: &'a serde_json::Value) -> JsonTemplate {
        match json {
            serde_json::Value::String(text) if text.contains("{{") => {
                JsonTemplate::Template(self.template(at, text))
            }
            serde_json::Value::Array(items) => {
                let items = items.iter().enumerate();
                JsonTemplate::Array(
                    items.map(|(index, item)| self.json(&format!("{at}/{index}"), item)).collect(),
                )
            }
            serde_json::Value::Object(members) => JsonTemplate::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), self.json(&format!("{at}/{name}"), value)))
                    .collect(),
            ),
            fixed => JsonTemplate::Fixed(fixed.clone()),
        }
    }

    pub(super) fn template(&mut self, at: &str, text: &str) -> Template {
        match Template::parse(text, &self.scope) {
            Ok(template) => {
                self.read.extend(template.reads().map(str::to_owned));
                self.codes(at, &template);
                template
            }
            Err(message) => {
                self.fault(at, message);
                Template::default()
            }
        }
    }

    fn codes(&mut self, at: &str, template: &Template) {
        for name in template.codes() {
            if !self.secrets.contains(name) {
                self.fault(at, "a one-time code is made from a `secret` field of the account");
            }
            match &mut self.codes {
                Some(codes) => _ = codes.insert(name.to_owned()),
                None => {
                    self.fault(at, "one-time codes are sent by steps of a login or refresh only")
                }
            }
        }
    }

    pub(super) fn path_template(&mut self, at: &str, text: &str) -> Template {
        let starts_with_value = text.starts_with("{{");
        let template = self.template(at, text);
        let path = template.literal();
        if path.is_some_and(|path| !path.starts_with('/'))
            && !(starts_with_value && path == Some(""))
        {
            self.fault(at, "a path starts with `/`");
        }
        template
    }

    pub(super) fn templates(
        &mut self,
        at: &str,
        texts: &BTreeMap<String, String>,
    ) -> Vec<(String, Template)> {
        let texts = texts.iter();
        texts
            .map(|(name, text)| (name.clone(), self.template(&format!("{at}/{name}"), text)))
            .collect()
    }

    pub(super) fn header_templates(
        &mut self,
        at: &str,
        texts: &BTreeMap<String, String>,
    ) -> Vec<(HeaderName, Template)> {
        let mut loaded = Vec::new();
        for (name, text) in texts {
            let at = format!("{at}/{name}");
            let template = self.template(&at, text);
            loaded.extend(self.header_name(&at, name).map(|name| (name, template)));
        }
        loaded
    }

    pub(super) fn header_name(&mut self, at: &str, name: &str) -> Option<HeaderName> {
        let parsed = HeaderName::try_from(name).ok();
        if parsed.is_none() {
            self.fault(at, format!("`{name}` cannot be the name of a header field"));
        }
        parsed
    }

    pub(super) fn method(&mut self, at: &str, name: &str) -> Method {
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) if name.bytes().all(|byte| byte.is_ascii_uppercase()) => method,
            _ => {
                self.fault(at, format!("`{name}` is no method; methods are written `GET`, `POST`"));
                Method::GET
            }
        }
    }

    pub(super) fn methods(&mut self, at: &str, names: &[String]) -> Vec<Method> {
        let names = names.iter().enumerate();
        names.map(|(index, name)| self.method(&format!("{at}/methods/{index}"), name)).collect()
    }

    pub(super) fn pattern(
        &mut self,
        at: &str,
        text: &str,
        ignore_case: bool,
    ) -> Option<PathPattern> {
        PathPattern::parse(text, ignore_case).map_err(|message| self.fault(at, message)).ok()
    }

    pub(super) fn pointer(&mut self, at: &str, text: &str) -> Option<Pointer> {
        Pointer::parse(text).map_err(|message| self.fault(at, message)).ok()
    }

    pub(super) fn regex(&mut self, at: &str, text: &str) -> Option<Regex> {
        let built = regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        built
            .map_err(|error| self.fault(at, format!("this is no regular expression: {error}")))
            .ok()
    }

    pub(super) fn duration(&mut self, at: &str, text: Option<&str>) -> Option<Duration> {
        duration(text?).map_err(|message| self.fault(at, message)).ok()
    }
}
