//! What the documents show is true: examples load, excerpts are excerpts, links lead somewhere, and
//! commands are those that continuous integration runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use doorward::app;
use doorward::conformance::{self, Conformance};
use doorward::diagnosis::Document;
use doorward::recipe::Recipe;
use doorward::secret::Environment;
use doorward::settings::Sources;

use super::{files, root, text};

/// Every document of the project.
pub fn documents() -> Vec<(String, String)> {
    let at_the_top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<(String, String)> = at_the_top
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .map(|name| (name.clone(), text(&name)))
        .collect();
    found.extend(files("docs", ".md"));
    assert!(found.iter().any(|(name, _)| name == "README.md"));
    found
}

/// A block of code: what stands behind the three ticks, and what is between them.
pub struct Block {
    pub at: String,
    pub info: String,
    pub code: String,
}

/// All blocks of a language; without one, all.
pub fn blocks(language: Option<&str>) -> Vec<Block> {
    let mut found = Vec::new();
    for (name, document) in documents() {
        let mut open: Option<(usize, Block)> = None;
        for (number, line) in document.lines().enumerate() {
            let text = line.trim_start();
            match (&mut open, text.strip_prefix("```")) {
                (None, Some(info)) => {
                    let at = format!("{name}:{}", number + 1);
                    let block = Block { at, info: info.to_owned(), code: String::new() };
                    open = Some((line.len() - text.len(), block));
                }
                (Some(_), Some(_)) => found.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), None) => {
                    // A block in a list is indented as a whole.
                    block.code.push_str(line.get(*indent..).unwrap_or_default());
                    block.code.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}: a block of code has no end");
    }
    found.retain(|block| language.is_none() || block.info.split(' ').next() == language);
    found
}

/// `config` and `recipe` load, `from FILE` stands there word by word. An unmarked block is a fault:
/// nobody would notice when it goes stale.
#[test]
fn every_toml_block_is_loaded_or_an_excerpt() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks(Some("toml"));
    let marked = |mark: &str| {
        let with = blocks.iter().filter(|block| block.info == format!("toml {mark}"));
        with.collect::<Vec<_>>()
    };
    let (recipes, configs) = (marked("recipe"), marked("config"));
    assert!(!recipes.is_empty() && !configs.is_empty());
    fs::create_dir(folder.path().join("recipes")).unwrap();
    for block in recipes {
        let document = Document::parse(&block.at, block.code.as_str());
        let recipe = document.and_then(|document| Recipe::load(&document, &BTreeMap::new()));
        let recipe = recipe.unwrap_or_else(|faults| panic!("{}:\n{faults}", block.at));
        let path = folder.path().join("recipes").join(format!("{}.toml", recipe.name));
        fs::write(path, &block.code).unwrap();
    }
    for block in configs {
        let path = folder.path().join("doorward.toml");
        fs::write(&path, &block.code).unwrap();
        loads(&path, &block.at);
    }
    let mut conforming = 0;
    for block in &blocks {
        match block.info.split(' ').collect::<Vec<_>>().as_slice() {
            ["toml", "recipe" | "config"] => {}
            ["toml", "conformance", name] => {
                let recipe = folder.path().join("recipes").join(format!("{name}.toml"));
                let recipe = Document::parse(&recipe, fs::read_to_string(&recipe).unwrap());
                conforms(&recipe.unwrap(), block);
                conforming += 1;
            }
            ["toml", "from", file] => {
                assert!(text(file).contains(&block.code), "{}: not what {file} says", block.at);
            }
            _ => panic!(
                "{}: mark it `toml config`, `toml recipe`, `toml conformance RECIPE` or `toml from FILE`",
                block.at
            ),
        }
    }
    assert!(conforming >= 3, "the worked examples have a conformance file each");
}

fn conforms(recipe: &Document, block: &Block) {
    let told = Document::parse(&block.at, block.code.as_str());
    let told = told.unwrap_or_else(|faults| panic!("{}:\n{faults}", block.at));
    let file = Conformance::load(&told).unwrap_or_else(|faults| panic!("{}:\n{faults}", block.at));
    let differences = conformance::check(recipe, &file, Some(&told)).unwrap();
    let shown: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{}:\n{}", block.at, shown.join("\n"));
}

#[test]
fn every_configuration_below_config_and_deploy_loads() {
    let mut count = 0;
    for (path, text) in files("config", ".toml").into_iter().chain(files("deploy", ".toml")) {
        count += 1;
        if path.ends_with(conformance::SUFFIX) {
            let document = Document::parse(&path, text.as_str());
            let file = document.and_then(|document| Conformance::load(&document));
            file.unwrap_or_else(|faults| panic!("{faults}"));
        } else if path.starts_with("config/recipes/") {
            let document = Document::parse(&path, text.as_str());
            let recipe = document.and_then(|document| Recipe::load(&document, &BTreeMap::new()));
            recipe.unwrap_or_else(|faults| panic!("{faults}"));
        } else {
            loads(&root().join(&path), &path);
        }
    }
    assert!(count > 8, "{count}");
}

/// With the real recipes; secrets are not read.
fn loads(path: &Path, at: &str) {
    let files = vec![PathBuf::from(path)];
    let loaded = app::load(&Sources { files, environment: Environment::given([]) });
    let loaded = loaded.unwrap_or_else(|faults| panic!("{at}:\n{faults}"));
    assert_eq!(loaded.warnings, Vec::<String>::new(), "{at}");
}

#[test]
fn every_relative_link_leads_somewhere() {
    let documents = documents();
    let mut count = 0;
    for (name, document) in &documents {
        let folder = Path::new(name).parent().unwrap();
        for link in links(document) {
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => PathBuf::from(name),
                path => folder.join(path),
            };
            assert!(root().join(&target).exists(), "{name}: {link} leads nowhere");
            if !anchor.is_empty() {
                let target = fs::read_to_string(root().join(target)).unwrap();
                let known = anchors(&target);
                assert!(known.iter().any(|known| known == anchor), "{name}: {link} is no heading");
            }
        }
    }
    assert!(count > 20, "{count}");
}

fn links(document: &str) -> impl Iterator<Item = &str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn anchors_set(document: &str) -> impl Iterator<Item = &str> {
    document.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next())
}

/// The anchors of a document's headings, as forges make them, and those that it sets itself.
fn anchors(document: &str) -> Vec<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept =
            text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).chain(anchors_set(document).map(str::to_owned)).collect()
}

/// No code is there that no test has seen a client get.
#[test]
fn every_code_of_an_own_answer_has_a_test_through_the_boundary() {
    let document = text("docs/ERRORS.md");
    let tests = ["tests/gateway", "tests/process"].into_iter().flat_map(|at| files(at, ".rs"));
    let tests: String = tests.map(|(_, text)| text).collect();
    let codes: Vec<&str> = anchors_set(&document).collect();
    assert!(codes.len() > 20, "{codes:?}");
    for code in codes {
        assert!(tests.contains(&format!("\"{code}\"")), "{code}");
    }
}

#[test]
fn continuous_integration_runs_the_readmes_commands() {
    let readme = blocks(Some("sh")).into_iter().find(|block| block.at.starts_with("README.md"));
    let commands: Vec<String> = readme.unwrap().code.lines().map(str::to_owned).collect();
    assert!(commands.len() == 2, "the README begins with two commands: {commands:?}");
    let command = |begin: &str| {
        let found = commands.iter().find(|command| command.starts_with(begin));
        found.unwrap_or_else(|| panic!("no `{begin}` in {commands:?}"))
    };
    let bare = |command: &str| command.split('#').next().unwrap().trim().to_owned();
    assert_eq!(bare(command("cargo test")), "cargo test");
    let demo = bare(command("cargo run"));
    let script = text(".ci/run");
    for wanted in ["cargo test".to_owned(), format!("{demo} --once")] {
        let runs = |line: &str| line.trim_start().starts_with("stage ") && line.ends_with(&wanted);
        assert!(script.lines().any(runs), "`{wanted}` is no stage of .ci/run");
    }
}

#[test]
fn every_command_of_the_binary_is_in_the_readme() {
    let binary = text("src/main.rs");
    let list = binary.split("enum Command {").nth(1).unwrap().split('}').next().unwrap();
    let commands = list.lines().filter_map(|line| line.trim().split('(').next());
    let readme = text("README.md");
    let mut count = 0;
    for command in commands.filter(|line| line.starts_with(char::is_uppercase)) {
        count += 1;
        let row = format!("| `doorward {}", command.to_lowercase());
        assert!(
            readme.contains(&row),
            "`doorward {}` is not in the README",
            command.to_lowercase()
        );
    }
    assert!(count >= 6, "{count}");
}
