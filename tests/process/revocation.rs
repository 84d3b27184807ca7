//! `doorward key revoke`, `key list` and `check` beside a gateway that runs.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use doorward::access::key::ClientKey;
use doorward::emulator::{Emulator, Options, Vendor, contentstack};

use crate::site::{Doorward, Site, get};

fn run(site: &Site, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(arguments)
        .args(["-c", "doorward.toml"])
        .current_dir(site.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing has closed it.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    let [out, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{errors}")
}

async fn status(doorward: &Doorward, key: &ClientKey) -> String {
    let line = format!(
        "/v3/content_types HTTP/1.1\r\napi_key: {}\r\ndoorward-key: {}",
        contentstack::API_KEY,
        key.expose()
    );
    let answer = get(doorward.address, &line).await;
    answer.get(9..12).unwrap_or_default().to_owned()
}

/// Fails when a revocation is lost among others, needs a restart, is forgotten by one, or when a key
/// is printed.
#[tokio::test]
async fn keys_are_revoked_beside_a_running_gateway_and_stay_so() {
    let emulator = Emulator::start(Vendor::Contentstack, Options::default()).await.unwrap();
    emulator.control().switch("rate_limit", serde_json::json!(false)).unwrap();
    let site = Site::new(&emulator);
    let names: Vec<String> = (0..6).map(|number| format!("client-{number}")).collect();
    let keys: Vec<ClientKey> =
        names.iter().map(|name| ClientKey::generate(name.parse().unwrap()).unwrap()).collect();
    let config = fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    let clients = names.iter().zip(&keys).map(|(name, key)| {
        format!("[clients.{name}]\nkeys = [\"{}\"]\ngrants = [{{}}]\n", key.digest())
    });
    let config = config.replace("\"open\"", "\"clients\"") + &clients.collect::<String>();
    site.write("doorward.toml", &config);
    let mut doorward = site.start(0).await;
    for key in &keys {
        assert_eq!(status(&doorward, key).await, "200");
    }

    // Each way of naming a key, all at once.
    let digest = keys[0].digest().to_string();
    let beginning = keys[1].digest().beginning();
    let outputs = std::thread::scope(|scope| {
        let ways: Vec<(Vec<&str>, &str)> = vec![
            (vec!["key", "revoke", &digest], ""),
            (vec!["key", "revoke", &beginning], ""),
            (vec!["key", "revoke", "--key-from-stdin"], keys[2].expose()),
            (vec!["key", "revoke", "--client", "client-3"], ""),
            (vec!["key", "revoke", "--client", "client-4", "--json"], ""),
        ];
        let site = &site;
        let running: Vec<_> = ways
            .into_iter()
            .map(|(arguments, input)| scope.spawn(move || run(site, &arguments, input)))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    for (output, key) in outputs.iter().zip(&keys) {
        assert_eq!(output.status.code(), Some(0), "{}", said(output));
        assert!(said(output).contains(&key.digest().to_string()), "{}", said(output));
        assert!(!said(output).contains(key.expose()));
    }
    let told: serde_json::Value = serde_json::from_slice(&outputs[4].stdout).unwrap();
    assert_eq!(told["keys"][0]["outcome"], "revoked");
    for key in &keys[..5] {
        let waiting = async {
            while status(&doorward, key).await != "401" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.unwrap();
    }
    assert_eq!(status(&doorward, &keys[5]).await, "200");
    doorward.stop().await;
    assert_eq!(doorward.log().matches("key revoked").count(), 5, "{}", doorward.log());

    let mut again = site.start(1).await;
    assert_eq!(status(&again, &keys[0]).await, "401");
    assert_eq!(status(&again, &keys[5]).await, "200");
    let output = run(&site, &["key", "revoke", &digest], "");
    assert!(said(&output).contains("was revoked already"), "{}", said(&output));
    let list = run(&site, &["key", "list", "--json"], "");
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let states = list["keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap());
    let states: Vec<&str> = states.collect();
    assert_eq!(states, ["revoked", "revoked", "revoked", "revoked", "revoked", "good"]);
    let checked = run(&site, &["check"], "");
    assert_eq!(checked.status.code(), Some(0));
    assert_eq!(said(&checked).matches("is revoked; take it out").count(), 5, "{}", said(&checked));
    again.stop().await;

    // Damage starts nothing, and no command adds to it.
    let file = site.path().join("state/revoked_keys");
    let damaged = fs::read_to_string(&file).unwrap().replacen("client-", "client_", 1);
    fs::write(&file, &damaged).unwrap();
    for arguments in [&["run"][..], &["check"], &["key", "revoke", &digest], &["key", "list"]] {
        let output = run(&site, arguments, "");
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {}", said(&output));
        assert!(
            said(&output).contains("revoked_keys:2: this line is damaged"),
            "{}",
            said(&output)
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
}

/// Fails when a disk that fills up in the middle of a revocation leaves a part of a line, which would
/// keep every later one out.
#[test]
fn a_revocation_that_a_full_disk_cuts_off_leaves_nothing_behind() {
    let site = Site::bare();
    let generate = |name: &str| ClientKey::generate(name.parse().unwrap()).unwrap().digest();
    let many: Vec<String> = (0..20).map(|_| format!("\"{}\"", generate("many"))).collect();
    site.write("password", "a password");
    site.write(
        "doorward.toml",
        &format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\n\
             [upstreams.any]\nurl = \"http://127.0.0.1:1\"\nrecipe = \"contentstack\"\n\
             [upstreams.any.accounts.one]\nusername = \"one\"\n\
             password = {{ file = \"password\" }}\n[[routes]]\nupstream = \"any\"\n\
             [access]\nrevoked_path = \"revoked\"\n\
             [clients.one]\nkeys = [\"{}\"]\ngrants = [{{}}]\n\
             [clients.many]\nkeys = [{}]\ngrants = [{{}}]\n",
            generate("one"),
            many.join(", ")
        ),
    );
    let file = site.path().join("revoked");
    let revoke = |client: &str| run(&site, &["key", "revoke", "--client", client], "");
    // No file may grow beyond one block of the shell's, 512 or 1024 bytes; 20 lines are more.
    let within_a_block = || {
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_doorward"))
            .args(["key", "revoke", "--client", "many", "-c", "doorward.toml"])
            .current_dir(site.path())
            .output()
            .unwrap()
    };
    for _ in 0..2 {
        let before = fs::read(&file).unwrap_or_default();
        let output = within_a_block();
        assert_ne!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("revoked"), "{}", said(&output));
        assert_eq!(fs::read(&file).unwrap(), before, "{}", said(&output));
        let output = revoke("one");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    assert_eq!(revoke("many").status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 22);
}

/// Fails when a wrong call revokes something, or prints the key that was put in the wrong place.
#[test]
fn what_names_no_key_is_told_and_a_key_on_the_command_line_is_not_printed() {
    let site = Site::bare();
    let key = ClientKey::generate("alice".parse().unwrap()).unwrap();
    site.write("password", "a password");
    let config = |more: &str| {
        format!(
            "[listeners.main]\naddress = \"127.0.0.1:0\"\n\
             [upstreams.any]\nurl = \"http://127.0.0.1:1\"\nrecipe = \"contentstack\"\n\
             [upstreams.any.accounts.one]\nusername = \"one\"\n\
             password = {{ file = \"password\" }}\n[[routes]]\nupstream = \"any\"\n\
             [clients.alice]\nkeys = [\"{}\"]\ngrants = [{{}}]\n{more}",
            key.digest()
        )
    };
    site.write("doorward.toml", &config(""));
    let whole = run(&site, &["key", "revoke", "--client", "alice"], "");
    assert_eq!(whole.status.code(), Some(78));
    assert!(said(&whole).contains("set `revoked_path`"), "{}", said(&whole));
    site.write("doorward.toml", &config("[access]\nrevoked_path = \"revoked\"\n"));
    let cut = &key.expose()[..key.expose().len() - 1];
    for (arguments, input, code, words) in [
        (&["key", "revoke", key.expose()][..], "", 2, "--key-from-stdin"),
        (&["key", "revoke", "sha256:ab"][..], "", 2, "64 hex digits"),
        (&["key", "revoke", "sha256:0123456789"][..], "", 2, "begins like this"),
        (&["key", "revoke", "--key-from-stdin"][..], cut, 2, "cut off or changed"),
        (&["key", "revoke", "--client", "bob"][..], "", 78, "no client `bob`"),
        (&["key", "revoke"][..], "", 2, "required"),
        (&["key", "revoke", "--client", "alice", "--key-from-stdin"][..], "", 2, "cannot be used"),
    ] {
        let output = run(&site, arguments, input);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
        assert!(!said(&output).contains(cut));
    }
    assert!(!site.path().join("revoked").exists());
}
