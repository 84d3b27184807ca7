//! The loader: judges a written recipe as strictly as configuration, all faults at once.

mod answers;
mod conditions;
pub(super) mod life;
mod rules;
mod steps;
mod texts;
mod throttle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::template::{BUILT_IN, OF_CLIENT_LOGIN, Scope};
use super::{AskedField, AskedParameter, Asks, Field, FieldKind, Purpose, Recipe, Shape, written};
use crate::diagnosis::{Document, Faults};

/// The name by which templates read a recipe's placeholder.
const PLACEHOLDER: &str = "placeholder";

pub(super) fn shape(document: &Document) -> Result<Shape, Faults> {
    let faults = document.judge::<written::Recipe>();
    if !faults.is_empty() {
        return Err(faults);
    }
    let recipe: written::Recipe = document.deserialize()?;
    Ok(Shape {
        fields: recipe
            .account
            .into_iter()
            .map(|(name, field)| (name, Field { kind: field.kind, optional: field.optional }))
            .collect(),
        parameters: recipe
            .parameters
            .into_iter()
            .map(|(name, parameter)| (name, parameter.default.is_none()))
            .collect(),
    })
}

pub(super) fn asks(document: &Document) -> Result<Asks, Faults> {
    let faults = document.judge::<written::Recipe>();
    if !faults.is_empty() {
        return Err(faults);
    }
    let recipe: written::Recipe = document.deserialize()?;
    let fields = recipe.account.into_iter().map(|(name, field)| AskedField {
        name,
        kind: field.kind,
        optional: field.optional,
        help: field.help,
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by_key(|field| match (field.kind, field.optional) {
        (FieldKind::LoginName, _) => 0,
        (FieldKind::Plain, false) => 1,
        (FieldKind::Secret, false) => 2,
        (_, true) => 3,
    });
    let parameters = recipe.parameters.into_iter().map(|(name, parameter)| AskedParameter {
        name,
        default: parameter.default,
        help: parameter.help,
    });
    Ok(Asks { title: recipe.title, fields, parameters: parameters.collect() })
}

pub(super) fn load(
    document: &Document,
    parameters: &BTreeMap<String, String>,
) -> Result<Recipe, Faults> {
    let faults = document.judge::<written::Recipe>();
    if !faults.is_empty() {
        return Err(faults);
    }
    let recipe: written::Recipe = document.deserialize()?;
    let mut filled = BTreeMap::from([(PLACEHOLDER, recipe.placeholder.as_str())]);
    for (name, parameter) in &recipe.parameters {
        let default = parameter.default.as_deref().unwrap_or_default();
        filled.insert(name, parameters.get(name).map_or(default, String::as_str));
    }
    let mut loader = Loader {
        document,
        faults: Faults::default(),
        scope: Scope { parameters: filled, values: Vec::new() },
        read: BTreeSet::new(),
        secrets: recipe
            .account
            .iter()
            .filter(|(_, field)| field.kind == written::FieldKind::Secret)
            .map(|(name, _)| name.as_str())
            .collect(),
        codes: None,
    };
    let loaded = loader.recipe(&recipe);
    loader.faults.or(loaded)
}

/// A duration as people write it: `90s`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is no duration; write for example `90s` or `1h30m`"))?;
    Duration::try_from(signed).map_err(|_| "a duration cannot be negative".to_owned())
}

struct Loader<'a> {
    document: &'a Document,
    faults: Faults,
    scope: Scope<'a>,
    /// The names of values that some template reads.
    read: BTreeSet<String>,
    /// The fields of an account that are secrets.
    secrets: BTreeSet<&'a str>,
    /// The fields that the step's one-time codes are made from; nothing outside of steps that may
    /// send some.
    codes: Option<BTreeSet<String>>,
}

impl<'a> Loader<'a> {
    fn recipe(&mut self, recipe: &'a written::Recipe) -> Recipe {
        self.account(recipe);
        if recipe.placeholder.trim().is_empty() {
            self.fault("/placeholder", "the placeholder cannot be empty: clients check for it");
        }
        self.scope.values.extend(recipe.account.keys().map(String::as_str));
        let login = self.attempt_steps(Purpose::Login, &recipe.login.steps);
        if login.is_empty() {
            self.fault("/login/steps", "a login needs at least one step");
        }
        let refusals = self.refusals(&recipe.login.refusals);
        let session = self.session(recipe);
        let refresh = self.refresh(recipe);
        let renew = self.renew(recipe);
        let inject = self.injections(recipe);
        let verdicts = self.verdicts(recipe);
        let probe = recipe.probe.as_ref().map(|probe| self.probe(probe));
        let logout = self.steps(Purpose::Logout, &recipe.logout.steps);
        let spelling = self.spelling(&recipe.spelling);
        let endpoints = self.endpoints(recipe);
        let strip_headers = recipe.strip.headers.iter().enumerate();
        let strip_headers = strip_headers
            .filter_map(|(index, name)| self.header_name(&format!("/strip/headers/{index}"), name))
            .collect();
        self.logout_is_sent_whole(recipe);
        self.unused(recipe);
        Recipe {
            name: recipe.name.clone(),
            file: self.file(),
            title: recipe.title.clone(),
            placeholder: recipe.placeholder.clone(),
            fields: recipe
                .account
                .iter()
                .map(|(name, field)| {
                    (name.clone(), Field { kind: field.kind, optional: field.optional })
                })
                .collect(),
            login,
            refusals,
            session,
            refresh,
            renew,
            inject,
            strip_headers,
            strip_query: recipe.strip.query.iter().map(|name| name.to_lowercase()).collect(),
            verdicts,
            probe,
            logout,
            endpoints,
            spelling,
            budget: self.budget(&recipe.budget),
            throttle: self.throttle(&recipe.throttle),
        }
    }

    fn file(&self) -> String {
        let name = self.document.name();
        name.file_name().unwrap_or(name.as_os_str()).to_string_lossy().into_owned()
    }

    fn fault(&mut self, pointer: &str, message: impl Into<String>) {
        self.faults.push(self.document.fault(pointer, message));
    }

    fn account(&mut self, recipe: &written::Recipe) {
        let names = recipe
            .account
            .values()
            .filter(|field| field.kind == written::FieldKind::LoginName)
            .count();
        if names != 1 {
            self.fault("/account", "exactly one field of an account has `kind = \"login_name\"`");
        }
        for name in recipe.account.keys().chain(recipe.parameters.keys()) {
            let is_built_in = BUILT_IN.iter().chain(&OF_CLIENT_LOGIN).any(|known| known == name);
            if is_built_in || name == PLACEHOLDER {
                self.fault("/account", format!("`{name}` is the name of a built-in value"));
            }
        }
    }

    /// Names that nothing reads are mistakes, most often a misspelling elsewhere.
    fn unused(&mut self, recipe: &written::Recipe) {
        let text = format!("{recipe:?}");
        let expressions = || text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        let reads = |name: &str| {
            expressions().any(|text| text.split(|letter| !is_word(letter)).any(|word| word == name))
        };
        for name in recipe.parameters.keys() {
            if !reads(name) {
                self.faults.push(self.document.key_fault(
                    &format!("/parameters/{name}"),
                    format!("nothing reads the parameter `{name}`"),
                ));
            }
        }
        let refresh = recipe.refresh.iter().flat_map(|refresh| &refresh.steps).enumerate();
        let refresh = refresh.map(|(index, step)| (format!("/refresh/steps/{index}"), step));
        let renew = recipe.renew.iter().flat_map(|renew| &renew.steps).enumerate();
        let renew = renew.map(|(index, step)| (format!("/renew/steps/{index}"), step));
        let login = recipe.login.steps.iter().enumerate();
        let login = login.map(|(index, step)| (format!("/login/steps/{index}"), step));
        let taken = login.chain(refresh).chain(renew).flat_map(|(at, step)| {
            let signed = step.sign.keys();
            let signed = signed.map({
                let at = at.clone();
                move |name| (format!("{at}/sign/{name}"), name)
            });
            step.take.keys().map(move |name| (format!("{at}/take/{name}"), name)).chain(signed)
        });
        let rolled = recipe.session.roll.keys();
        let rolled = rolled.map(|name| (format!("/session/roll/{name}"), name));
        for (at, name) in taken.chain(rolled).filter(|(_, name)| !self.read.contains(*name)) {
            let message = format!("nothing reads the value `{name}`");
            self.faults.push(self.document.key_fault(&at, message));
        }
        // Where one password is all, a name only tells accounts apart.
        let names = |field: &written::Field| field.kind == written::FieldKind::LoginName;
        let unread = recipe
            .account
            .iter()
            .filter(|(name, field)| !names(field) && !self.read.contains(*name));
        for (name, _) in unread {
            self.faults.push(self.document.key_fault(
                &format!("/account/{name}"),
                format!("nothing reads the field `{name}`"),
            ));
        }
    }
}

#[cfg(test)]
mod tests;
