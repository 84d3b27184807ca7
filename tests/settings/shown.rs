//! What is shown to operators is true: the examples load, the reference is the schema.

use std::fs;
use std::path::{Path, PathBuf};

use doorward::settings::{Settings, Sources, reference, schema};

use super::{Folder, GOOD, nothing, recipes};

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut examples: Vec<PathBuf> =
        fs::read_dir(folder.join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.push(folder.join("doorward.example.toml"));
    assert!(examples.len() > 3);
    for example in examples {
        let sources = Sources { files: vec![example.clone()], environment: nothing() };
        let loaded = Settings::load(&sources, &recipes);
        let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{}", example.display());
    }
}

#[test]
fn the_example_shows_every_key_and_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/doorward.example.toml");
    let text = fs::read_to_string(&path).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema(), &mut keys);
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        let shown = [format!("{key} ="), format!("[{key}"), format!(".{key}")];
        assert!(shown.iter().any(|shown| text.contains(shown.as_str())), "{key} is not shown");
    }
    let sources = Sources { files: vec![path], environment: nothing() };
    let shown = Settings::load(&sources, &recipes).ok().unwrap().settings;
    let folder = Folder::with(&[("doorward.toml", GOOD)]);
    let silent = folder.loaded(&["doorward.toml"], nothing()).settings;
    assert_eq!(format!("{:?}", shown.limits), format!("{:?}", silent.limits));
    assert_eq!(format!("{:?}", shown.timeouts), format!("{:?}", silent.timeouts));
    assert_eq!(shown.upstreams[0].connect_timeout, silent.upstreams[0].connect_timeout);
    assert_eq!(shown.upstreams[0].response_timeout, silent.upstreams[0].response_timeout);
    assert_eq!(shown.upstreams[0].idle_timeout, silent.upstreams[0].idle_timeout);
    assert_eq!(shown.upstreams[0].upgrades, silent.upstreams[0].upgrades);
    let reach = |settings: &Settings| format!("{:?}", settings.upstreams[0].reach);
    assert_eq!(reach(&shown), reach(&silent));
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(entries) => {
            for (keyword, value) in entries {
                if keyword == "properties" {
                    keys.extend(value.as_object().unwrap().keys().cloned());
                }
                collect_keys(value, keys);
            }
        }
        serde_json::Value::Array(elements) => {
            elements.iter().for_each(|element| collect_keys(element, keys));
        }
        _ => {}
    }
}

/// Fails when a key, at whatever depth, has no place in the reference.
#[test]
fn the_reference_explains_every_key() {
    let reference = reference();
    let mut keys = Vec::new();
    collect_keys(&schema(), &mut keys);
    for key in keys {
        let places =
            [format!("### `{key}`"), format!("- `{key}` ("), format!("[{key}"), format!(".{key}")];
        let is_there = places.iter().any(|place| reference.contains(place.as_str()));
        assert!(is_there, "{key} is not explained");
    }
}

#[test]
fn the_reference_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let reference = reference();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &reference).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference, "docs/CONFIGURATION.md is old: UPDATE=1 cargo test writes it");
}
