//! An issuer of tokens on loopback: keys that sign, and a server that shows their public halves.

use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use doorward::emulator::Vendor;
use serde_json::{Value, json};

use crate::client::{Answer, Call};
use crate::harness::{Scene, Setup};
use crate::puppet::{Puppet, Reply};
use crate::vendors::read;

pub const ISSUER: &str = "https://issuer.test";
pub const AUDIENCE: &str = "doorward-test";

/// A private key with its id.
pub struct Signer {
    pub id: String,
    algorithm: &'static str,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub fn new(algorithm: &'static str, id: &str) -> Self {
        let key = match algorithm {
            "RS256" | "PS256" => Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            "ES256" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            _ => Key::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { id: id.to_owned(), algorithm, key }
    }

    /// Its public half.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let mut jwk = match &self.key {
            // RFC 8017 appendix A.1.1, of a modulus of 2048 bits and the usual exponent.
            Key::Rsa(key) => {
                let der = key.public_key().as_ref();
                json!({ "kty": "RSA", "n": text(&der[9..265]), "e": "AQAB" })
            }
            Key::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (text(&point[1..33]), text(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
            Key::Ed(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(key.public_key().as_ref()) })
            }
        };
        jwk["kid"] = self.id.clone().into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.into();
        jwk
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "kid": self.id, "typ": "JWT" });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with this header and these claims, whatever they say.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = signed(header, claims);
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Rsa(key) => {
                let padding =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = padding;
                key.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::Ec(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Ed(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        with_signature(&signed, &signature)
    }
}

pub fn signed(header: &str, claims: &str) -> String {
    let text = |part: &str| BASE64URL_NOPAD.encode(part.as_bytes());
    format!("{}.{}", text(header), text(claims))
}

pub fn with_signature(signed: &str, signature: &[u8]) -> String {
    format!("{signed}.{}", BASE64URL_NOPAD.encode(signature))
}

/// A token that is signed with a secret that everybody knows.
pub fn sign_with_secret(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = signed(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, signed.as_bytes());
    with_signature(&signed, tag.as_ref())
}

/// The key set of these.
pub fn key_set(keys: &[&Signer]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The server with the key set.
pub struct LocalIssuer {
    pub puppet: Puppet,
    reply: Arc<Mutex<Reply>>,
}

impl LocalIssuer {
    pub async fn start(keys: &[&Signer]) -> Self {
        let reply = Arc::new(Mutex::new(Reply::json(&key_set(keys))));
        let given = Arc::clone(&reply);
        let puppet = Puppet::start(move |_| given.lock().unwrap().clone()).await;
        Self { puppet, reply }
    }

    pub fn publish(&self, keys: &[&Signer]) {
        self.answer(Reply::json(&key_set(keys)));
    }

    pub fn answer(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// How often its keys were asked for.
    pub fn fetches(&self) -> usize {
        self.puppet.requests().len()
    }

    /// A gateway that trusts it: a token with `sub` = `job-1` is one of the client `ci`.
    pub fn setup(&self, more: &str) -> Setup {
        let url = self.puppet.origin();
        trusting(&format!("issuer = {ISSUER:?}\njwks_url = \"{url}/keys\"\n{more}"))
    }
}

/// A gateway that trusts the issuer with these lines.
pub fn trusting(lines: &str) -> Setup {
    let mut setup = Setup::of(Vendor::Contentstack);
    setup.listener = "access = \"clients\"".to_owned();
    setup.tables(&format!(
        "[issuers.local]\naudience = [\"other\", {AUDIENCE:?}]\n{lines}\n{}",
        client("ci", r#"{ sub = "job-1" }"#)
    ))
}

/// A client with tokens of these claims.
pub fn client(name: &str, claims: &str) -> String {
    format!(
        "[clients.{name}]\ntokens = [{{ issuer = \"local\", claims = {claims} }}]\ngrants = [{{}}]\n"
    )
}

/// Good claims of `job-1`, for five minutes.
pub fn claims(scene: &Scene) -> Value {
    let now = scene.clock.wall().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "job-1", "iat": now, "exp": now + 300 })
}

/// A read that shows a token.
pub fn read_with(scene: &Scene, token: &str) -> Call {
    read(scene).header("authorization", &format!("Bearer {token}"))
}

/// What became of a request: its status, and the code where Doorward has answered.
pub fn told(answer: &Answer) -> (u16, String) {
    match answer.status.as_u16() {
        200 => (200, String::new()),
        status => (status, answer.problem()),
    }
}

/// What becomes of a read that shows this token.
pub async fn shown(scene: &Scene, token: &str) -> (u16, String) {
    told(&read_with(scene, token).send().await)
}

pub fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
