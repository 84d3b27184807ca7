//! What a recipe makes of an upstream's answers, held against what its conformance file says.
//!
//! A conformance file stands beside its recipe: `mine.toml` has `mine.conformance.toml`. It is
//! written from the vendor's documentation, and from recordings. Everything is judged by the code
//! that runs logins, judges answers and guards endpoints, without I/O.

mod carried;
mod check;
mod compare;
mod limits;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod signed;
pub mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnosis::{Document, Faults};
use crate::recipe::Recipe;
pub use written::Conformance;

/// What a conformance file's name ends with.
pub const SUFFIX: &str = ".conformance.toml";

/// The conformance files of the recipes that are built in: name and text, by name.
pub const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/conformance.rs"));

/// Something that the recipe makes otherwise than the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where in the file that stands: `refused[2]`.
    pub at: String,
    /// The line of the file, counted from 1.
    pub line: Option<usize>,
    /// What is different. No value of the file is in it but names, statuses and texts of the recipe.
    pub what: String,
}

/// The conformance file of the recipe in `file`.
pub fn beside(file: &Path) -> PathBuf {
    file.with_extension(SUFFIX.trim_start_matches('.'))
}

/// The conformance file of a built-in recipe, if there is one of this name.
///
/// # Errors
/// The faults of a file that is no TOML.
pub fn built_in(name: &str) -> Option<Result<Document, Faults>> {
    let (_, text) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
    Some(Document::parse(PathBuf::from(format!("recipes/{name}{SUFFIX}")), *text))
}

/// The JSON schema of a conformance file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Conformance).to_value()
}

impl Conformance {
    /// Judges and reads a file.
    ///
    /// # Errors
    /// All its faults at once, with their positions.
    pub fn load(document: &Document) -> Result<Self, Faults> {
        let faults = document.judge::<Self>();
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut file = document.deserialize::<Self>()?;
        if let Err((name, fault)) = signed::fill_in(&mut file) {
            let mut faults = Faults::new();
            faults.push(document.fault(&format!("/signed/{name}"), fault.to_string()));
            return Err(faults);
        }
        Ok(file)
    }
}

/// Loads `recipe` with the parameters of `conformance` and runs the whole file against it.
///
/// # Errors
/// The faults of the recipe.
pub fn check(
    recipe: &Document,
    conformance: &Conformance,
    file: Option<&Document>,
) -> Result<Vec<Difference>, Faults> {
    let with = |parameters: &BTreeMap<_, _>| Recipe::load(recipe, parameters).map(Arc::new);
    let loaded = with(&conformance.parameters)?;
    let of_login = |login: &written::Login| match &login.parameters {
        Some(parameters) => with(parameters),
        None => Ok(Arc::clone(&loaded)),
    };
    let of_logins: Vec<_> = conformance.logins.iter().map(of_login).collect::<Result<_, _>>()?;
    let mut differences = check::run(&loaded, &of_logins, conformance);
    let of_logins = conformance.logins.iter().filter_map(|login| login.parameters.as_ref());
    let parameters = recipe.value().get("parameters").and_then(|table| table.as_object());
    for given in of_logins.chain([&conformance.parameters]) {
        let needed = parameters.into_iter().flatten().filter(|(_, it)| it.get("default").is_none());
        let missing = needed.filter(|(name, _)| !given.contains_key(*name));
        differences.extend(missing.map(|(name, _)| Difference {
            at: "account".to_owned(),
            line: None,
            what: format!("the parameter `{name}` must be set"),
        }));
    }
    for difference in &mut differences {
        let pointer = difference.at.replace('[', "/").replace(']', "");
        let pointer = format!("/{}", pointer.replace('.', "/"));
        difference.line = file.and_then(|file| file.key_line(&pointer));
    }
    Ok(differences)
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "line {line}, {}: {}", self.at, self.what),
            None => write!(out, "{}: {}", self.at, self.what),
        }
    }
}
