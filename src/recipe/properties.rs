//! What must hold for any recipe that somebody writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Recipe;
use crate::diagnosis::{Document, Faults, Paint};
use crate::properties::Draws;

/// A recipe loads, or its faults are told at their places; a login by one that loads ends, whatever
/// it is answered. What stands behind a zero byte is what the login is answered.
pub fn recipes(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (text, answers) = data.split_at(end);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let document = match Document::parse("recipe.toml", text) {
        Ok(document) => document,
        Err(faults) => return told(&faults, text),
    };
    let shape = Recipe::shape(&document);
    match Recipe::load(&document, &BTreeMap::new()) {
        Err(faults) => told(&faults, text),
        Ok(recipe) => {
            assert!(shape.is_ok(), "it loads, and has no shape");
            assert!(!recipe.login.is_empty() && !recipe.placeholder.trim().is_empty());
            let answers = answers.get(1..).unwrap_or_default();
            crate::login::properties::answered(&Arc::new(recipe), Draws::new(answers));
        }
    }
}

/// Faults can be shown, and stand in the text.
pub(crate) fn told(faults: &Faults, text: &str) {
    assert!(!faults.is_empty(), "nothing is wrong with it");
    let lines = text.split('\n').count();
    for fault in faults.sorted() {
        assert!(!fault.message().is_empty());
        assert!(fault.line().is_none_or(|line| (1..=lines).contains(&line)), "{fault}");
    }
    assert!(!faults.report(Paint::Plain).contains('\u{1b}') || text.contains('\u{1b}'));
    assert!(faults.report(Paint::Coloured).len() >= faults.report(Paint::Plain).len());
}
