//! What must hold for any configuration file.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use super::{Settings, Sources};
use crate::diagnosis::Paint;
use crate::properties::Draws;
use crate::recipe::BUILT_IN;
use crate::secret::Environment;

/// An account whose password stands where it should not.
const PASSWORD: &str = "Tr0ub4dor&3 of the account";

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().unwrap_or_else(|error| panic!("{error}")));

/// A configuration loads, always alike, or its faults are told at their places; what may be a secret
/// in it is never shown.
pub fn configurations(data: &[u8]) {
    let mut draws = Draws::new(data);
    let choices = draws.byte();
    let Ok(given) = std::str::from_utf8(draws.rest()) else { return };
    if given.contains(PASSWORD) {
        return;
    }
    let account = || {
        let recipe = BUILT_IN.first().map_or("none", |(name, _)| *name);
        format!(
            "[upstreams.u]\nurl = \"http://127.0.0.1:1\"\nrecipe = \"{recipe}\"\n\
             [upstreams.u.accounts.a]\nusername = \"a\"\npassword = \"{PASSWORD}\"\n"
        )
    };
    let text = match choices & 3 {
        0 | 1 => given.to_owned(),
        2 => format!("{}{given}", account()),
        _ => format!("{given}\n{}", account()),
    };
    // One for each thread: tests run side by side.
    let thread = format!("{:?}", std::thread::current().id());
    let path = FOLDER.path().join(thread.replace(['(', ')'], "-")).with_extension("toml");
    fs::write(&path, &text).unwrap_or_else(|error| panic!("{error}"));
    let shown = loaded(path.clone(), &text);
    assert_eq!(loaded(path, &text), shown, "it is another one the second time");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

/// What is shown of it.
fn loaded(path: PathBuf, text: &str) -> String {
    let sources = Sources { files: vec![path], environment: Environment::given([]) };
    match Settings::load(&sources, &crate::app::recipe_shape) {
        Ok(loaded) => format!("{:?} {:?}", loaded.settings, loaded.warnings),
        Err(faults) => {
            crate::recipe::properties::told(&faults, text);
            format!("{} {:?}", faults.report(Paint::Plain), faults.sorted())
        }
    }
}
