//! Every metric is in `docs/METRICS.md`, and what the dashboard and the alert rules name is there.

use std::collections::BTreeSet;
use std::fmt::Write;

use doorward::telemetry::metrics::{ALL, Kind};
use serde_json::Value;

use super::{root, text};

const DOCUMENT: &str = "docs/METRICS.md";
const DASHBOARD: &str = "deploy/observability/dashboard.json";
const ALERTS: &str = "deploy/observability/alerts.yaml";
const TESTS: &str = "deploy/observability/alerts.test.yaml";
const BEGIN: &str = "<!-- All metrics, from src/telemetry/metrics/families.rs; `UPDATE=1 cargo test` writes them anew. -->\n";
const END: &str = "<!-- So far. -->\n";

fn table() -> String {
    let mut table = "\n| Metric | Kind | Labels | What it says |\n|---|---|---|---|\n".to_owned();
    for family in ALL {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (family.name, family.kind.as_str(), labels.join(", "));
        writeln!(table, "| `{name}` | {kind} | {labels} | {} |", family.help).unwrap();
    }
    table.push('\n');
    table
}

#[test]
fn the_document_lists_every_metric() {
    let document = text(DOCUMENT);
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if shown != table() {
        if std::env::var_os("UPDATE").is_some() {
            let text = format!("{before}{BEGIN}{}{END}{after}", table());
            std::fs::write(root().join(DOCUMENT), text).unwrap();
            return;
        }
        panic!("{DOCUMENT} lists other metrics than there are: UPDATE=1 cargo test --test house");
    }
}

/// Every word that looks like one of our metrics, without what a histogram puts behind it.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_ours = |word: &&str| {
        ["doorward_", "http_server_", "http_client_", "process_"]
            .iter()
            .any(|begin| word.starts_with(begin))
    };
    words.filter(is_ours).collect()
}

/// Whether a series of this name is there.
fn is_known(name: &str) -> bool {
    ALL.iter().any(|family| {
        let ends: &[&str] = match family.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge => &[""],
        };
        ends.iter().any(|end| name.strip_suffix(end) == Some(family.name))
    })
}

/// The expressions of the dashboard and of the rules.
fn expressions() -> Vec<(&'static str, String)> {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let shown = targets.map(|target| (DASHBOARD, target["expr"].as_str().unwrap().to_owned()));
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let queries = variables.filter_map(|variable| variable["definition"].as_str());
    let queries = queries.map(|query| (DASHBOARD, query.to_owned()));
    let rules = text(ALERTS);
    let alerts = rules.split("- alert: ").skip(1).map(|rule| {
        let from = rule.split_once("expr: ").unwrap().1;
        let to =
            ["\n        for: ", "\n        labels: "].into_iter().filter_map(|end| from.find(end));
        (ALERTS, from[..to.min().unwrap()].to_owned())
    });
    shown.chain(queries).chain(alerts).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_are_there() {
    let expressions = expressions();
    assert!(expressions.len() > 50, "{}", expressions.len());
    for (file, expression) in &expressions {
        let names: Vec<_> = names(expression).into_iter().filter(|name| !is_label(name)).collect();
        assert!(!names.is_empty(), "{file}: `{expression}` names no metric");
        for name in names {
            assert!(is_known(name), "{file}: there is no series `{name}`");
        }
    }
}

fn is_label(word: &str) -> bool {
    ALL.iter().any(|family| family.labels.contains(&word))
}

#[test]
fn labels_that_are_asked_for_are_labels_of_the_metric() {
    let of_scrape = ["job", "instance", "le"];
    let known: BTreeSet<&str> = ALL.iter().flat_map(|family| family.labels).copied().collect();
    for (file, expression) in expressions() {
        let grouped = expression.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        for label in grouped.flat_map(|list| list.split(',')).map(str::trim) {
            let is_there = of_scrape.contains(&label) || known.contains(label);
            assert!(is_there, "{file}: `{label}` in `{expression}` is no label");
        }
        // What stands in braces belongs to the name before them.
        for (selected, rest) in expression.match_indices('{').map(|(at, _)| expression.split_at(at))
        {
            let name = names(selected.rsplit(|letter: char| !is_word(letter)).next().unwrap());
            let Some(name) = name.first() else { continue };
            let family = ALL.iter().find(|family| {
                family.name == *name
                    || family.kind == Kind::Histogram && name.starts_with(family.name)
            });
            let family = family.unwrap_or_else(|| panic!("{file}: there is no series `{name}`"));
            let matchers = rest[1..].split('}').next().unwrap().split("\",");
            for label in matchers.filter_map(|matcher| matcher.split(['=', '!']).next()) {
                let is_there = of_scrape.contains(&label) || family.labels.contains(&label);
                assert!(is_there, "{file}: `{name}` has no label `{label}`");
            }
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[test]
fn every_alert_is_proved() {
    let (rules, tests) = (text(ALERTS), text(TESTS));
    let alerts: Vec<_> =
        rules.split("- alert: ").skip(1).map(|rule| rule.lines().next().unwrap()).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        let asked = tests.matches(&format!("alertname: {alert}")).count();
        assert!(asked >= 2, "{TESTS}: {alert} must come, and must not come before");
    }
}
