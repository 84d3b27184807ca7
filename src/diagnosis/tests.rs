//! What a report looks like, as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Document, Paint};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct House {
    name: String,
    #[serde(default)]
    rooms: BTreeMap<String, Room>,
    #[serde(default)]
    doors: Vec<Door>,
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Room {
    #[schemars(range(min = 1, max = 9))]
    windows: u8,
    #[schemars(extend("format" = "duration", "examples" = ["5s"]))]
    heat_up: Option<String>,
    password: Option<Reference>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[allow(dead_code)]
enum Door {
    Wooden { hinges: u32, path: String },
    Glass(Glass),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Glass {
    thickness: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Reference {
    File(FileReference),
    Env(EnvReference),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct FileReference {
    file: String,
    #[serde(default)]
    trim: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct EnvReference {
    env: String,
    #[serde(default)]
    trim: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum Mode {
    /// Nobody lives here.
    Empty,
    /// Somebody does.
    Lived { people: u32 },
}

fn reports(text: &str) -> String {
    let document = match Document::parse("house.toml", text) {
        Ok(document) => document,
        Err(faults) => return faults.to_string(),
    };
    document.judge::<House>().to_string()
}

/// Message, position and helps of each fault, one a line.
fn lines(text: &str) -> Vec<String> {
    let faults = match Document::parse("house.toml", text) {
        Ok(document) => document.judge::<House>(),
        Err(faults) => faults,
    };
    let line = |fault: &&super::Fault| {
        let (line, column) = (fault.line().unwrap(), fault.column().unwrap());
        [format!("{line}:{column} {}", fault.message())]
            .into_iter()
            .chain(fault.helps().iter().cloned())
            .collect::<Vec<_>>()
            .join("; ")
    };
    faults.sorted().iter().map(line).collect()
}

#[test]
fn a_right_document_has_no_fault() {
    let text = r#"
name = "home"
mode = { lived = { people = 2 } }
rooms.hall = { windows = 1, heat_up = "5s", password = { env = "X", trim = true } }
[rooms."guest room"]
windows = 0x2
[[doors]]
kind = "wooden"
hinges = 3
path = "a"
[[doors]]
kind = "glass"
thickness = 4
"#;
    assert_eq!(lines(text), Vec::<String>::new());
    let house: House = Document::parse("house.toml", text).unwrap().deserialize().unwrap();
    assert_eq!((house.rooms.len(), house.doors.len()), (2, 2));
}

#[test]
fn a_report_reads_like_the_compilers() {
    let report = reports("nam = \"home\"\n\n[rooms.hall]\nwindows = \"two\"\n");
    let expected = r#"error: unknown key `nam`
 --> house.toml:1:1
  |
1 | nam = "home"
  | ^^^
  |
  = help: did you mean `name`?

error: expected an integer for `windows`, found a string
 --> house.toml:4:11
  |
4 | windows = "two"
  |           ^^^^^

2 faults in house.toml; nothing was started"#;
    assert_eq!(report, expected);
}

#[test]
fn every_kind_of_fault_has_its_place_and_its_hint() {
    let text = r#"name = 5
mode = "emty"
[rooms.hall]
heat_up = 5
[rooms.attic]
windows = 12
password = { fil = "x" }
[rooms.cellar]
windows = 300
heat_up = "3"
[rooms.loft]
windows = 1
password = { file = "x", env = "y" }
[rooms.roof]
windows = 1
password = 5
[[doors]]
kind = "wodden"
[[doors]]
kind = "wooden"
pth = "x"
hinges = -1
[[doors]]
kind = "glass"
thickness = true
colour = "red"
[[doors]]
thickness = 4
"#;
    let expected = [
        "1:8 expected a string for `name`, found an integer; put it in quotes",
        "2:8 unknown value for `mode`; expected `empty`; did you mean `empty`?",
        "3:8 missing key `windows` in `rooms.hall`",
        "4:11 expected a duration with its unit for `heat_up`, found an integer; for example \"5s\"",
        "6:11 this must be at most 9",
        "7:14 unknown key `fil` in `rooms.attic.password`; did you mean `file`?",
        "9:11 this must be at most 9",
        "13:12 only one of `file` and `env` can be given",
        "16:12 expected a table with `file` or `env` for `password`, found an integer",
        "18:8 unknown value for `kind`; expected `wooden` or `glass`; did you mean `wooden`?",
        "21:1 unknown key `pth` in `doors[1]`; did you mean `path`?",
        "22:10 this must be at least 0",
        "25:13 expected a number for `thickness`, found `true` or `false`",
        "26:1 unknown key `colour` in `doors[2]`; the known keys are `kind` and `thickness`",
        "27:1 missing key `kind` in `doors[3]`; `kind` is `wooden` or `glass`",
    ];
    let found = lines(text);
    let unit = found.iter().position(|line| line.starts_with("10:11")).unwrap();
    assert!(found[unit].contains("not a duration with its unit"), "{}", found[unit]);
    let others: Vec<_> =
        found.iter().enumerate().filter(|(at, _)| *at != unit).map(|(_, line)| line).collect();
    assert_eq!(others, expected);
}

#[test]
fn a_layer_may_leave_to_another_what_it_does_not_say() {
    let layer = Document::parse("part.toml", "[rooms.hall]\n[[doors]]\n").unwrap();
    assert_eq!(layer.judge_layer::<House>().len(), 0);
    assert_eq!(layer.judge::<House>().len(), 3);
}

#[test]
fn all_faults_of_syntax_are_told_at_once() {
    let found = lines("name = \nmode = \"empty\"\nrooms = ]\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("1:"), "{found:?}");
    assert!(found[1].starts_with("3:"), "{found:?}");
}

#[test]
fn a_line_with_two_faults_of_syntax_is_told_once_and_simply() {
    assert_eq!(
        lines("address = 127.0.0.1:80\nurl: \"x\"\n"),
        [
            "1:16 this is not TOML: invalid float, expected nothing; a text stands in quotes",
            "2:4 this is not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`",
        ]
    );
}

#[test]
fn no_excerpt_shows_a_secret() {
    let literals = [
        "name = 1\nrooms.a = { windows = 1, password = \"hunter2\" }",
        "passwrd = \"hunter2\"\n",
        "password = \"hunter2\ntokens = [\"hunter2\"]",
        "password = \"\"\"\nhunter2\n]\n",
        "name = \"x\"\npassword: hunter2\n",
        "[rooms.a]\npassword = { value = \"hunter2\" }\n",
        "[rooms.a]\napi-key = 'hunter2' x\n",
    ];
    for text in literals {
        let report = reports(text);
        assert!(report.contains("-->"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[test]
fn a_fault_of_the_caller_points_at_the_nearest_place_that_exists() {
    let text = "[rooms.hall]\nwindows = 1\n\n[rooms]\ncellar.windows = 2\n";
    let document = Document::parse("house.toml", text).unwrap();
    let place = |fault: super::Fault| (fault.line().unwrap(), fault.column().unwrap());
    assert_eq!(place(document.fault("/rooms/hall/windows", "x")), (2, 11));
    assert_eq!(place(document.key_fault("/rooms/hall/windows", "x")), (2, 1));
    assert_eq!(place(document.fault("/rooms/hall/heat_up", "x")), (1, 8));
    assert_eq!(place(document.fault("/rooms/cellar/windows", "x")), (5, 18));
    assert_eq!(place(document.fault("/nothing", "x")), (1, 1));
}

#[test]
fn colour_is_only_for_terminals() {
    let document = Document::parse("house.toml", "nam = 1").unwrap();
    let faults = document.judge::<House>();
    assert!(!faults.report(Paint::Plain).contains('\u{1b}'));
    assert!(faults.report(Paint::Coloured).contains('\u{1b}'));
}

#[test]
fn the_report_and_the_fault_agree_on_the_position() {
    for text in
        ["rooms.a = { \"éß\" = 1, windws = 2 }", "\tnam = 1", "name = \"\"\r\n\tnam = 1\r\n"]
    {
        let document = Document::parse("house.toml", text).unwrap();
        for fault in document.judge::<House>() {
            let place =
                format!("house.toml:{}:{}\n", fault.line().unwrap(), fault.column().unwrap());
            assert!(fault.to_string().contains(&place), "{fault}\n{place}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_judge_panic(text in "(name|rooms|doors|password|kind|[\\[\\]{}=\"'#\n\r\t .,0-9é€]){0,40}") {
        let report = reports(&text);
        prop_assert!(report.is_empty() || report.contains("house.toml"));
    }
}
