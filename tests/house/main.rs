//! The rules of the house, as tests: who may import whom, how a source file looks, and that what
//! the documents show is true.

// What is outside `#[test]` functions here is still only tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod defects;
mod documents;
mod examples;
mod hostile;
mod metrics;
mod rooms;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

/// The project's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project.
fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below `folder` whose name ends with `ending`: its path from the project's folder, and
/// its text.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), ending, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no {ending} in {folder}");
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What an installation left behind is not ours.
        let ours = !path.ends_with("scratch") && !path.ends_with("node_modules");
        if path.is_dir() && ours {
            collect(&path, ending, found);
        } else if ours && path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}
