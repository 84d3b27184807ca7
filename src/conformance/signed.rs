//! Keys that are made up for a run, and what is signed with them: no file holds a key.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use data_encoding::BASE64;
use serde_json::Value;

use super::written::{Conformance, Exchange, Signed};
use crate::secret::{Algorithm, SigningFault};

/// Stands in an account for an RSA key in PEM that nobody else has.
const RSA_KEY: &str = "{{rsa_private_key}}";

/// One for each process: to make one takes a while. Nothing where none can be made, which the
/// signature then tells.
static RSA_PEM: LazyLock<String> = LazyLock::new(|| {
    let key = KeyPair::generate(KeySize::Rsa2048).ok();
    let key = key.and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok());
    let text = key.map(|key| BASE64.encode(key.as_ref())).unwrap_or_default();
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .filter_map(|at| text.get(at..text.len().min(at + 64)))
        .collect();
    let kind = "PRIVATE KEY";
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
});

/// Puts keys and what they sign where the file names them.
///
/// # Errors
/// The name of a token that cannot be signed, and why.
pub(super) fn fill_in(file: &mut Conformance) -> Result<(), (String, SigningFault)> {
    for value in file.account.values_mut().filter(|value| **value == RSA_KEY) {
        value.clone_from(&RSA_PEM);
    }
    let mut tokens = BTreeMap::new();
    for (name, signed) in &file.signed {
        let token = token(signed, &file.account).map_err(|fault| (name.clone(), fault))?;
        tokens.insert(format!("{{{{signed.{name}}}}}"), token);
    }
    if tokens.is_empty() {
        return Ok(());
    }
    let others = file.logins.iter_mut().flat_map(|login| &mut login.steps);
    for exchange in file.login.iter_mut().chain(others).chain(&mut file.refresh) {
        put(&tokens, exchange);
    }
    Ok(())
}

fn token(signed: &Signed, account: &BTreeMap<String, String>) -> Result<String, SigningFault> {
    let key = account.get(&signed.key).map(String::as_str).unwrap_or_default();
    let algorithm = match signed.header.get("alg").and_then(Value::as_str) {
        Some("HS256") => Algorithm::Hs256,
        _ => Algorithm::Rs256,
    };
    let header = in_order(&signed.header, &["alg", "typ"]);
    algorithm.token(key, &header.to_string(), &in_order(&signed.claims, &[]).to_string())
}

/// The members in the order in which they are signed, by name, however the file has them; these
/// come last.
fn in_order(value: &Value, last: &[&str]) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let mut names: Vec<&String> = members.keys().collect();
    names.sort_by_key(|name| (last.iter().position(|late| *late == name.as_str()), *name));
    let ordered =
        names.into_iter().filter_map(|name| Some((name.clone(), members.get(name)?.clone())));
    Value::Object(ordered.collect())
}

fn put(tokens: &BTreeMap<String, String>, exchange: &mut Exchange) {
    let sends = &mut exchange.sends;
    for text in
        sends.form.iter_mut().flat_map(BTreeMap::values_mut).chain(sends.headers.values_mut())
    {
        for (name, token) in tokens {
            *text = text.replace(name, token);
        }
    }
    if let Some(json) = &mut sends.json {
        put_in(tokens, json);
    }
}

fn put_in(tokens: &BTreeMap<String, String>, value: &mut Value) {
    match value {
        Value::String(text) => {
            for (name, token) in tokens {
                *text = text.replace(name, token);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_in(tokens, item)),
        Value::Object(members) => members.values_mut().for_each(|item| put_in(tokens, item)),
        _ => {}
    }
}
