//! Who may import whom. A room that needs another one gets a line here first, and a reason in the
//! review.

use std::collections::BTreeSet;

use super::{files, text};
use crate::sources::without_tests;

/// Every room and the rooms that it may import. A room stands below all that it imports, so there
/// are no circles.
const ROOMS: [(&str, &[&str]); 28] = [
    ("clock", &[]),
    ("fields", &[]),
    ("diagnosis", &[]),
    ("secret", &[]),
    ("telemetry", &["fields"]),
    ("state", &["secret"]),
    ("http1", &[]),
    ("outbox", &[]),
    ("upstream", &["clock", "fields", "http1", "outbox", "telemetry"]),
    ("recipe", &["diagnosis", "fields", "secret"]),
    ("login", &["fields", "recipe", "secret"]),
    // Of `upstream` only the description of where it is, to map `Location` back.
    ("forward", &["fields", "login", "recipe", "secret", "upstream"]),
    ("recording", &["fields", "forward", "login", "recipe", "secret"]),
    (
        "session",
        &[
            "clock",
            "fields",
            "forward",
            "login",
            "recipe",
            "recording",
            "secret",
            "state",
            "telemetry",
            "upstream",
        ],
    ),
    // Of `session` only ids: a route says whose session its requests carry.
    ("route", &["recipe", "session"]),
    ("shield", &["fields", "login", "recipe", "route", "secret"]),
    // Of `session` only what a recipe's times and numbers come to.
    (
        "conformance",
        &[
            "diagnosis",
            "fields",
            "forward",
            "login",
            "recipe",
            "route",
            "secret",
            "session",
            "shield",
        ],
    ),
    // Of `session` only ids, as above.
    ("access", &["fields", "recipe", "route", "secret", "session"]),
    ("limit", &["clock"]),
    (
        "proxy",
        &[
            "access",
            "clock",
            "fields",
            "forward",
            "http1",
            "limit",
            "recipe",
            "route",
            "session",
            "shield",
            "telemetry",
            "upstream",
        ],
    ),
    // Of `route` only the canonical copy of a path.
    ("audit", &["route", "secret", "telemetry"]),
    ("server", &["access", "fields", "http1", "outbox", "proxy"]),
    ("settings", &["access", "diagnosis", "secret"]),
    ("emulator", &["clock"]),
    ("admin", &["clock", "telemetry"]),
    (
        "app",
        &[
            "access",
            "admin",
            "audit",
            "clock",
            "diagnosis",
            "fields",
            "forward",
            "limit",
            "login",
            "outbox",
            "proxy",
            "recipe",
            "recording",
            "route",
            "secret",
            "server",
            "session",
            "settings",
            "shield",
            "state",
            "telemetry",
            "upstream",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "admin",
            "app",
            "audit",
            "clock",
            "conformance",
            "diagnosis",
            "emulator",
            "limit",
            "recipe",
            "recording",
            "secret",
            "session",
            "settings",
            "telemetry",
        ],
    ),
    (
        "properties",
        &[
            "access",
            "audit",
            "conformance",
            "fields",
            "forward",
            "login",
            "recipe",
            "route",
            "server",
            "settings",
            "shield",
            "state",
            "upstream",
        ],
    ),
];

/// Rooms of rules: bytes in, decisions out.
const PURE: [&str; 7] =
    ["recipe", "login", "forward", "route", "shield", "recording", "conformance"];

#[test]
fn every_room_imports_only_what_it_may() {
    for (path, text) in files("src", ".rs") {
        let room = room(&path);
        if matches!(room, "lib" | "main") {
            continue;
        }
        let (_, may) = ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| {
            panic!("{path}: the room `{room}` is missing in the table of rooms")
        });
        for imported in imports(&without_tests(&path, &text)) {
            assert!(
                imported == room || may.contains(&imported.as_str()),
                "{path}: `{room}` may not import `{imported}`"
            );
        }
    }
}

#[test]
fn no_room_imports_one_that_stands_below_it() {
    let mut above = BTreeSet::new();
    for (room, may) in ROOMS {
        for imported in may {
            assert!(
                above.contains(imported),
                "`{room}` may import `{imported}`, which is below it"
            );
        }
        above.insert(room);
    }
    let library = text("src/lib.rs");
    let listed: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(above, listed, "the table and src/lib.rs list the same rooms");
}

#[test]
fn the_architecture_shows_this_table() {
    let document = text("docs/ARCHITECTURE.md");
    for (room, may) in ROOMS {
        let is_row = |row: &&str| {
            [format!("| `{room}/` |"), format!("| `{room}.rs` |")]
                .iter()
                .any(|begin| row.starts_with(begin))
        };
        let row = document.lines().find(is_row);
        let row = row.unwrap_or_else(|| panic!("`{room}` has no row in docs/ARCHITECTURE.md"));
        let imports = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let shown: BTreeSet<&str> = imports.split('`').skip(1).step_by(2).collect();
        assert_eq!(shown, may.iter().copied().collect(), "docs/ARCHITECTURE.md: `{room}`");
    }
}

#[test]
fn rooms_of_rules_wait_for_nothing() {
    for (path, text) in files("src", ".rs") {
        if !PURE.contains(&room(&path)) {
            continue;
        }
        let text = without_tests(&path, &text);
        for waiting in [".await", "async ", "tokio::", "std::fs", "std::net::Tcp", "std::thread"] {
            assert!(!text.contains(waiting), "{path}: `{waiting}` in a room of rules");
        }
    }
}

#[test]
fn no_vendor_is_named_outside_the_emulators() {
    for (path, text) in files("src", ".rs") {
        if room(&path) == "emulator" {
            continue;
        }
        for line in without_tests(&path, &text).lines() {
            for vendor in ["contentstack", "thoughtspot", "mfiles", "m-files"] {
                assert!(!line.to_lowercase().contains(vendor), "{path}: {line}");
            }
        }
    }
}

/// The room that a file belongs to.
fn room(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap();
    below.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The first names after `crate::`, wherever a path begins with it.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for path in line.split("crate::").skip(1) {
            if let Some(list) = path.strip_prefix('{') {
                let items = list.split(['}', ';']).next().unwrap().split(',');
                found.extend(items.map(first_name));
            } else {
                found.insert(first_name(path));
            }
        }
    }
    found
}

fn first_name(path: &str) -> String {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    path.trim().chars().take_while(|character| is_name(*character)).collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::secret::Text;\n// crate::cli is no import\nlet x = crate::clock::now();\n\
                use crate::{recipe, settings::Settings};\npub(crate) fn f() {}\n";
    let found = imports(text);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["clock", "recipe", "secret", "settings"]);
}
