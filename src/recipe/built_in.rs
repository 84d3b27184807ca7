//! The recipes that the binary has.

use std::path::PathBuf;

use crate::diagnosis::{Document, suggestion};

/// The recipes built into the binary: name and text, by name.
pub const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// The text of a built-in recipe as a document.
///
/// # Errors
/// A sentence that says which recipe was meant, or the faults of a recipe that is no TOML.
pub fn built_in(name: &str) -> Result<Document, UnknownRecipe> {
    let found = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
    let (_, text) = found.ok_or_else(|| UnknownRecipe {
        name: name.to_owned(),
        meant: suggestion(name, BUILT_IN.iter().map(|(name, _)| *name)),
    })?;
    Document::parse(PathBuf::from(format!("recipes/{name}.toml")), *text)
        .map_err(|_| UnknownRecipe { name: name.to_owned(), meant: None })
}

/// No built-in recipe has this name.
#[derive(Debug, thiserror::Error)]
#[error("no recipe is called `{name}`{}", meant.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default())]
pub struct UnknownRecipe {
    name: String,
    meant: Option<String>,
}
