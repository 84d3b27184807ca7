//! `demo --once`: it succeeds, and it notices each mechanism that is missing.

use doorward::emulator::Vendor;
use serde_json::Value;

use super::process::{Ended, assert_without_secrets, run};

const STEPS: [&str; 7] = [
    "cold login",
    "cached call",
    "local login",
    "replayed call",
    "late expiry",
    "nothing leaked",
    "logout at stop",
];

#[tokio::test]
async fn every_step_does_what_it_should() {
    let Ended { code, out, errors } = run(&["demo", "--once"]).await;
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_eq!(errors, "");
    for step in STEPS {
        let line = format!("{step:<14}  ok");
        assert_eq!(out.matches(&line).count(), Vendor::ALL.len(), "{step}:\n{out}");
    }
    assert!(!out.contains("FAIL"), "{out}");
    assert!(out.ends_with("All 21 steps did what they should.\n"), "{out}");
    assert_without_secrets(&out);
}

#[tokio::test]
async fn the_json_says_the_same() {
    let Ended { code, out, .. } = run(&["demo", "--once", "--json"]).await;
    assert_eq!(code, Some(0), "{out}");
    let table: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(table["ok"], true);
    assert_eq!(failed(&table), Vec::<(String, String)>::new());
    for vendor in Vendor::ALL {
        let steps = table["steps"].as_array().unwrap().iter();
        let steps = steps.filter(|step| step["upstream"] == vendor.name());
        let steps: Vec<_> = steps.map(|step| step["step"].as_str().unwrap()).collect();
        assert_eq!(steps, STEPS, "{vendor}");
    }
}

#[tokio::test]
async fn without_the_generation_guard_a_late_expiry_ends_the_newer_session() {
    assert_noticed("generation-guard", &["late expiry"]).await;
}

#[tokio::test]
async fn without_the_replay_the_client_gets_the_refusal() {
    assert_noticed("replay", &["replayed call", "late expiry"]).await;
}

#[tokio::test]
async fn without_the_logout_a_session_is_left() {
    assert_noticed("logout", &["logout at stop"]).await;
}

#[tokio::test]
async fn what_the_walk_does_not_look_at_cannot_be_switched_off() {
    let Ended { code, errors, .. } = run(&["demo", "--once", "--without", "lock-out-guard"]).await;
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("generation-guard, replay, logout"), "{errors}");
}

/// The walk fails at every vendor, in exactly these steps, and the table names them.
async fn assert_noticed(mechanism: &str, steps: &[&str]) {
    let arguments = ["demo", "--once", "--without", mechanism];
    let Ended { code, out, .. } = run(&arguments).await;
    assert_eq!(code, Some(1), "{out}");
    for step in steps {
        let line = format!("{step:<14}  FAIL");
        assert_eq!(out.matches(&line).count(), Vendor::ALL.len(), "{step}:\n{out}");
    }

    let Ended { code, out, .. } = run(&[&arguments[..], &["--json"]].concat()).await;
    assert_eq!(code, Some(1), "{out}");
    let table: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(table["ok"], false);
    assert_eq!(table["without"], mechanism);
    let expected: Vec<_> = Vendor::ALL
        .iter()
        .flat_map(|vendor| steps.iter().map(|step| (vendor.name().to_owned(), (*step).to_owned())))
        .collect();
    assert_eq!(failed(&table), expected);
}

/// Upstream and step of what failed, in the table's order.
fn failed(table: &Value) -> Vec<(String, String)> {
    let text = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
    let steps = table["steps"].as_array().unwrap().iter();
    let failed = steps.filter(|step| step["ok"] == false);
    failed.map(|step| (text(step, "upstream"), text(step, "step"))).collect()
}
