//! Issuers of tokens and clients with tokens, as they are judged.

use std::fs;

use crate::{Folder, GOOD, faults_of, nothing};

fn told(lines: &str) -> Vec<String> {
    let before = GOOD.lines().count() + 1;
    let faults = faults_of(&format!("{GOOD}\n{lines}"));
    let short = |fault: String| {
        let rest = fault.strip_prefix("doorward.toml:").unwrap().to_owned();
        let (line, rest) = rest.split_once(':').unwrap();
        format!("{}:{rest}", line.parse::<usize>().unwrap() - before)
    };
    faults.into_iter().map(short).collect()
}

/// Fails when a fault is not told, or not at its place.
#[test]
fn all_faults_of_issuers_and_tokens_come_at_once_with_their_places() {
    let lines = r#"[issuers.one]
issuer = "https://one.test"
audience = ["a", ""]
algorithms = ["RS256", "none", "HS256", "RS265"]
clock_skew = "6m"
required_type = ""
[issuers.plain]
issuer = "http://plain.test"
audience = ["a"]
[issuers.two]
issuer = "two"
audience = ["a"]
jwks_url = "http://10.0.0.1/keys"
[issuers.three]
issuer = "three"
audience = ["a"]
jwks_url = "https://three.test/keys/"
jwks_file = "keys.json"
[issuers.four]
issuer = "four"
audience = ["a"]
jwks_file = "keys.json"
ca_file = "ca.pem"
[issuers.void]
issuer = "https://void.test"
audience = []
[clients.a]
tokens = [{ issuer = "one", claims = { sub = "x*", n = 1, "b" = true } }, { issuer = "one", claims = {} }]
grants = [{}]
[clients.b]
tokens = [{ issuer = "one", claims = { sub = "*", list = "a*b" } }, { issuer = "one", clams = {} }]
grants = [{}]
[clients.c]
grants = [{}]
"#;
    let expected = [
        "3:18 an audience is not empty",
        "4:24 `none` is no algorithm that can be used; a token that nobody signed proves nothing",
        "4:32 `HS256` is no algorithm that can be used; with HMAC whoever can verify a token can make one; let the issuer sign with a private key",
        "4:41 `RS265` is no algorithm that can be used; did you mean `RS256`?",
        "5:14 clocks may be at most 5m apart",
        "6:17 a type is not empty",
        "8:10 `http` is only for this machine: who is on the way would choose the keys; give `jwks_url` or `jwks_file`, if its keys are not found below it",
        "13:12 `http` is only for this machine: who is on the way would choose the keys",
        "18:1 only one of `jwks_url` and `jwks_file` can be given",
        "22:13 there is no file `keys.json`",
        "23:11 there is no file `ca.pem`",
        "26:12 this needs at least 1 element; for example [\"https://doorward.example.com\"]",
        "28:46 the text before `*` must end with a separator, such as `/` or `:`",
        "28:102 without a claim this would be every token of the issuer",
        "31:46 this would match everything, or an empty claim",
        "31:58 `*` can only stand at the end",
        "31:87 unknown key `clams` in `clients.b.tokens[1]`; did you mean `claims`?",
        "33:10 nothing shows that somebody is client `c`; add `keys` (`doorward key new NAME`), `tokens`, \
         `certificates` or `unix`",
    ];
    assert_eq!(told(lines), expected);
}

/// Fails when two issuers have one name in their tokens, or a client has those of nobody.
#[test]
fn issuers_are_told_apart_and_known() {
    let lines = r#"[issuers.one]
issuer = "https://one.test"
audience = ["a"]
[issuers.same]
issuer = "https://one.test"
audience = ["b"]
[clients.a]
tokens = [{ issuer = "oen", claims = { sub = "a" } }]
grants = [{}]
"#;
    let expected = [
        "5:10 `one` has the same issuer; one table with all its audiences does for both",
        "8:22 there is no issuer `oen`; did you mean `one`?",
    ];
    assert_eq!(told(lines), expected);
}

/// Fails when two clients may have all tokens of one of them in common.
#[test]
fn tokens_that_two_clients_would_have_are_a_fault() {
    let clients = |one: &str, other: &str| {
        told(&format!(
            "[issuers.i]\nissuer = \"https://i.test\"\naudience = [\"a\"]\n\
             [clients.a]\ntokens = [{{ issuer = \"i\", claims = {one} }}]\ngrants = [{{}}]\n\
             [clients.b]\ntokens = [{{ issuer = \"i\", claims = {other} }}]\ngrants = [{{}}]\n"
        ))
    };
    let told = clients(r#"{ sub = "a/*" }"#, r#"{ sub = "a/b", ref = "x" }"#);
    let expected = "8:36 tokens of one client here are those of `a` too; \
                    ask for a claim in which they differ";
    assert_eq!(told, [expected]);
    assert_eq!(clients(r#"{ sub = "a" }"#, r#"{ sub = "a" }"#).len(), 1);
}

/// Fails when a good configuration with tokens is refused, or an issuer's file is not looked at.
#[test]
fn a_key_set_in_a_file_is_judged_at_load() {
    let issuer = "[issuers.i]\nissuer = \"kubernetes/serviceaccount\"\naudience = [\"a\"]\n\
                  jwks_file = \"keys.json\"\n\
                  [clients.a]\ntokens = [{ issuer = \"i\", claims = { sub = \"a\" } }]\n\
                  grants = [{}]\n";
    let folder = Folder::with(&[("doorward.toml", &format!("{GOOD}\n{issuer}"))]);
    folder.secret(b"secret");
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    fs::write(folder.path("keys.json"), format!("{{\"keys\":[{key}]}}")).unwrap();
    let settings = folder.loaded(&["doorward.toml"], nothing()).settings;
    assert_eq!(settings.clients[0].tokens.len(), 1);
    fs::write(folder.path("keys.json"), "{}").unwrap();
    let faults = folder.faults(&["doorward.toml"], nothing());
    let told = folder.lines(&faults).join("\n");
    assert!(told.contains("it is no JSON Web Key Set"), "{told}");
}
