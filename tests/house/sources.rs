//! How a source file looks.

use super::{files, text};

/// More lines than these are not read in one go.
const FILE_LINES_MAX: usize = 500;

#[test]
fn every_source_file_says_what_it_is_for_and_can_be_read_in_one_go() {
    let folders = ["src", "tests", "benches"].into_iter();
    for folder in folders.filter(|folder| super::root().join(folder).is_dir()) {
        for (path, text) in files(folder, ".rs") {
            assert!(text.starts_with("//! "), "{path}: the first line says what the file is for");
            let lines = text.lines().count();
            assert!(lines <= FILE_LINES_MAX, "{path}: {lines} lines, at most {FILE_LINES_MAX}");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Put together, so that this file does not hold them.
    let unfinished = ["todo", "dbg", "unimplemented"].map(|name| format!("{name}!("));
    let marks =
        [("TO", "DO"), ("FIX", "ME"), ("XX", "X")].map(|(begin, end)| format!("{begin}{end}"));
    for folder in ["src", "tests"] {
        for (path, text) in files(folder, ".rs") {
            for left in unfinished.iter().chain(&marks) {
                assert!(!text.contains(left), "{path}: `{left}`");
            }
        }
    }
}

#[test]
fn no_test_sleeps_or_is_skipped() {
    let ignored = format!("#[{}", "ignore");
    let asleep = ["tokio::time", "thread", "time"].map(|owner| format!("{owner}::{}", "sleep("));
    for (path, text) in files("tests", ".rs") {
        for forbidden in asleep.iter().chain([&ignored]) {
            assert!(!text.contains(forbidden), "{path}: `{forbidden}`");
        }
    }
}

#[test]
fn no_source_is_unsafe() {
    assert!(text("Cargo.toml").contains("unsafe_code = \"forbid\""));
}

/// The part of a source file that is built into the product.
pub fn without_tests(path: &str, text: &str) -> String {
    let is_room = path == "src/properties.rs";
    if ["/tests.rs", "_tests.rs", "/properties.rs"].iter().any(|end| path.ends_with(end))
        && !is_room
    {
        return String::new();
    }
    // By the house's style the tests stand at the end.
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}
