//! Commands, answers and outputs that the documents show: what is typed is understood, what is named
//! is there, and what is printed is what is printed.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use regex::Regex;
use serde_json::Value;

use super::documents::{Block, blocks, documents};
use super::{root, text};

/// Figures and files of other programs: nothing of them can be run.
const DRAWN: [&str; 2] = ["docs/ARCHITECTURE.md", "docs/AUDIT.md"];

fn doorward(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(arguments).current_dir(root()).env_clear();
    command.output().unwrap()
}

/// A block of a language that nobody looks at would go stale unnoticed. TOML is looked at in
/// `documents.rs`, YAML by `deploy/kubernetes.py`, all others here.
#[test]
fn every_block_of_code_is_looked_at_by_somebody() {
    assert!(text("deploy/kubernetes.py").contains("```yaml"));
    for block in blocks(None) {
        let (at, file) = (&block.at, block.at.split(':').next().unwrap());
        match block.info.split(' ').next().unwrap() {
            "toml" | "yaml" | "sh" | "console" | "json" => {}
            "text" if block.info == "text" => {
                assert!(DRAWN.contains(&file), "{at}: say `text from FILE` of what is printed");
            }
            "text" => {
                let from = block.info.strip_prefix("text from ");
                let from = from.unwrap_or_else(|| panic!("{at}: `{}`", block.info));
                assert!(text(from).contains(&block.code), "{at}: not what {from} says");
            }
            language => panic!("{at}: nobody looks at `{language}`"),
        }
    }
}

/// The lines that are typed: all of `sh`, and those behind the prompt of `console`.
fn typed(block: &Block) -> String {
    if block.info == "sh" {
        return block.code.clone();
    }
    let (mut typed, mut goes_on) = (String::new(), false);
    for line in block.code.lines() {
        let Some(command) = line.strip_prefix("$ ").or(goes_on.then_some(line)) else { continue };
        goes_on = command.ends_with('\\');
        typed.push_str(command);
        typed.push('\n');
    }
    typed
}

/// What the documents tell to type, each with its place: in blocks, and in the text between ticks.
fn commands() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in ["sh", "console"].into_iter().flat_map(|language| blocks(Some(language))) {
        let lines = typed(&block).replace("\\\n", " ");
        found.extend(lines.lines().map(|line| (block.at.clone(), line.to_owned())));
    }
    let ticks = Regex::new("`(doorward [^`]+)`").unwrap();
    for (name, document) in documents() {
        let all = ticks.captures_iter(&document);
        found.extend(all.map(|found| (name.clone(), found[1].replace('\n', " "))));
    }
    found
}

#[test]
fn what_is_to_be_typed_is_a_shells_language() {
    for block in ["sh", "console"].into_iter().flat_map(|language| blocks(Some(language))) {
        let judged = Command::new("bash").args(["-n", "-c", &typed(&block)]).output().unwrap();
        assert!(judged.status.success(), "{}: {judged:?}", block.at);
    }
}

/// The words of a command of ours in a line, without its name.
fn words(line: &str) -> Option<Vec<&str>> {
    let line = line.split(['#', '|', '>', '<', ';', '&']).next().unwrap();
    let words: Vec<&str> =
        line.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
    let is_verb = |word: &&str| word.bytes().all(|letter| letter.is_ascii_lowercase());
    let mut pairs =
        (1..words.len()).filter(|at| words[at - 1] == "doorward" && is_verb(&words[*at]));
    let at = pairs.next_back()?;
    let words = words[at..].iter().copied();
    // What stands behind them belongs to another command.
    Some(words.take_while(|word| *word != "--").collect())
}

/// Fails when a document names a command or an option that is not there.
#[test]
#[cfg_attr(
    not(feature = "emulator"),
    ignore = "documents show the commands of the default features"
)]
fn every_command_of_ours_is_understood() {
    let (mut helps, mut count) = (BTreeMap::new(), 0);
    for (at, line) in commands() {
        let Some(words) = words(&line) else { continue };
        count += 1;
        let verbs = words.iter().take(2).take_while(|word| {
            word.bytes().all(|letter| letter.is_ascii_lowercase()) && !word.is_empty()
        });
        let verbs: Vec<&str> = verbs.copied().chain(["--help"]).collect();
        let help = helps.entry(verbs.join(" ")).or_insert_with(|| {
            let output = doorward(&verbs);
            assert!(output.status.success(), "{at}: `{line}`: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        });
        for option in words.iter().filter(|word| word.starts_with('-')) {
            let name = option.split('=').next().unwrap();
            let is_named = help.split([' ', ',', '\n', '=']).any(|word| word == name);
            assert!(is_named, "{at}: `{line}`: there is no {name}\n{help}");
        }
    }
    assert!(count > 60, "{count}");
}

/// Fails when a document sends somebody to a file of the project, or to a test, that is not there.
#[test]
fn what_commands_name_of_the_project_is_there() {
    let mut count = 0;
    for (at, line) in commands() {
        let mut before = "";
        for word in line.split_whitespace().take_while(|word| *word != "#") {
            let path = word.split(['=', ':']).next().unwrap();
            let is_ours = ["deploy/", "tests/", "config/", "fuzz/", ".ci/"];
            if is_ours.iter().any(|folder| path.starts_with(folder)) && !path.contains('*') {
                count += 1;
                assert!(root().join(path).exists(), "{at}: `{line}`: there is no {path}");
            }
            if before == "--test" {
                count += 1;
                let test = root().join("tests").join(word);
                let is_there = test.is_dir() || test.with_extension("rs").exists();
                assert!(is_there, "{at}: `{line}`: there is no test {word}");
            }
            before = word;
        }
    }
    assert!(count > 5, "{count}");
}

/// Fails when the problem document that is shown is none that a client gets.
#[test]
fn the_problem_that_is_shown_is_one_of_ours() {
    let blocks = blocks(Some("json"));
    assert!(!blocks.is_empty());
    let sources = text("src/proxy/error.rs") + &text("src/proxy/causes.rs");
    for block in blocks {
        let shown: Value = serde_json::from_str(&block.code).unwrap();
        let code = shown["code"].as_str().unwrap();
        assert_eq!(shown["type"], format!("urn:doorward:problem:{code}"), "{}", block.at);
        assert!(text("docs/ERRORS.md").contains(&format!("<a id=\"{code}\">")), "{code}");
        for said in ["code", "title"] {
            let said = shown[said].as_str().unwrap();
            assert!(sources.contains(&format!("\"{said}\"")), "{}: `{said}`", block.at);
        }
    }
}

/// A line without what is another in each run.
fn skeleton(line: &str) -> String {
    let varying = Regex::new(r"\b\d+ ms\b|\b\d+ characters|#[0-9a-f]{6}").unwrap();
    varying.replace_all(line.trim_end(), "~").into_owned()
}

/// Fails when the doctor's trace is another one than that of the walk that a test takes.
#[test]
fn the_doctors_trace_is_the_one_of_the_quick_start() {
    let known: Vec<String> = text("docs/QUICKSTART.md").lines().map(skeleton).collect();
    let block =
        blocks(Some("console")).into_iter().find(|block| block.at.starts_with("docs/DOCTOR.md"));
    // The command, and whose account it is.
    let code = block.unwrap().code;
    let lines: Vec<&str> = code.lines().skip(2).collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        assert!(known.contains(&skeleton(line)), "docs/DOCTOR.md: `{line}`");
    }
}

/// Fails when a recording that is shown replayed comes to something else.
#[test]
fn the_recording_that_is_replayed_comes_to_what_is_shown() {
    let document = text("docs/DOCTOR.md");
    let shown = document.lines().find_map(|line| line.strip_prefix("recordings/"));
    let (name, outcome) = shown.unwrap().split_once(": ").unwrap();
    let path = format!("tests/recordings/{name}");
    let output = doorward(&["recipes", "replay", &path]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{path}: {outcome}\n"));
}

/// Fails when an output that is shown is not in the words of whoever prints it.
#[test]
fn outputs_that_are_shown_are_in_the_words_of_their_commands() {
    let audit = fs::read_to_string(root().join("src/cli/audit.rs")).unwrap();
    let blocks = blocks(Some("console"));
    let of = |name: &'static str| blocks.iter().filter(move |block| block.at.starts_with(name));
    let verified = of("docs/AUDIT.md").next().unwrap();
    for line in verified.code.lines().skip(1) {
        let label = line.split_whitespace().next().unwrap().trim_end_matches(':');
        assert!(audit.contains(label), "{}: `{line}`", verified.at);
    }
    let paused = of("docs/ADMIN.md")
        .find_map(|block| block.code.lines().find(|line| line.starts_with('{')).map(str::to_owned));
    let paused: Value = serde_json::from_str(&paused.unwrap()).unwrap();
    let detail = paused["detail"].as_str().unwrap();
    assert!(text("src/app/admin/acts.rs").contains(detail), "{detail}");
}
