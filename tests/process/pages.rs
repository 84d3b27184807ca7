//! What packages ship besides the binary: completions and manual pages, which the binary makes.

use std::fs;

use crate::site::{Site, command};

async fn said(site: &Site, arguments: &[&str]) -> String {
    let mut doorward = command(env!("CARGO_BIN_EXE_doorward"));
    let output = doorward.args(arguments).current_dir(site.path()).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Fails when a shell would find no commands, or could not read what it is given.
#[tokio::test]
async fn shells_are_given_every_command() {
    let site = Site::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&site, &["completions", shell]).await;
        for word in ["doorward", "exec", "upstream", "replay"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    site.write("completions", &said(&site, &["completions", "bash"]).await);
    let file = site.path().join("completions");
    assert!(command("bash").arg("-n").arg(file).status().await.unwrap().success());
}

/// Fails when a command has no page, or a page nothing of its options.
#[tokio::test]
async fn every_command_has_a_page() {
    let site = Site::bare();
    assert!(said(&site, &["man"]).await.contains("doorward\\-run(1)"));
    said(&site, &["man", "--directory", "pages/man1"]).await;
    let page = |name: &str| fs::read_to_string(site.path().join("pages/man1").join(name)).unwrap();
    assert!(page("doorward-exec.1").contains("DOORWARD_URL"));
    assert!(page("doorward-key-revoke.1").contains("key\\-from\\-stdin"));
    for name in ["doorward.1", "doorward-run.1", "doorward-init.1"] {
        assert!(page(name).starts_with(".ie \\n(.g"), "{name}");
    }
}
