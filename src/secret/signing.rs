//! Signs what a client asserts of itself (RFC 7515, JSON Web Signature).

use aws_lc_rs::{hmac, rand, rsa, signature};
use data_encoding::BASE64URL_NOPAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// How a token is signed (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256; the key is a text.
    Hs256,
    /// RSA with SHA-256; the key is PEM.
    Rs256,
    /// ECDSA over P-256 with SHA-256; the key is PEM (PKCS #8).
    Es256,
}

/// A key that signs nothing. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningFault {
    /// There is none.
    #[error("there is no key")]
    Empty,
    /// It is no PEM.
    #[error("the key is no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NotPem,
    /// It is another kind of key.
    #[error("the key is of another kind than the algorithm asks for")]
    OtherKind,
    /// The signature could not be made.
    #[error("the key makes no signature")]
    Unsigned,
}

impl Algorithm {
    /// Its name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    /// A token of these two JSON texts: both and the signature, in base64url, with dots between.
    ///
    /// # Errors
    /// When the key cannot sign by this algorithm.
    pub fn token(self, key: &str, header: &str, claims: &str) -> Result<String, SigningFault> {
        if key.trim().is_empty() {
            return Err(SigningFault::Empty);
        }
        let encode = |text: &[u8]| BASE64URL_NOPAD.encode(text);
        let input = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = self.sign(key, input.as_bytes())?;
        Ok(format!("{input}.{}", encode(&signature)))
    }

    fn sign(self, key: &str, input: &[u8]) -> Result<Vec<u8>, SigningFault> {
        let random = rand::SystemRandom::new();
        match self {
            Self::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
                Ok(hmac::sign(&key, input).as_ref().to_vec())
            }
            Self::Rs256 => {
                let der = private(key)?;
                let pair = match &der {
                    PrivateKeyDer::Pkcs8(der) => rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()),
                    PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()),
                    _ => return Err(SigningFault::OtherKind),
                };
                let pair = pair.map_err(|_| SigningFault::OtherKind)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed =
                    pair.sign(&signature::RSA_PKCS1_SHA256, &random, input, &mut signature);
                signed.map_err(|_| SigningFault::Unsigned)?;
                Ok(signature)
            }
            Self::Es256 => {
                let der = private(key)?;
                let PrivateKeyDer::Pkcs8(der) = &der else {
                    return Err(SigningFault::OtherKind);
                };
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der());
                let pair = pair.map_err(|_| SigningFault::OtherKind)?;
                let signature = pair.sign(&random, input).map_err(|_| SigningFault::Unsigned)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

fn private(pem: &str) -> Result<PrivateKeyDer<'static>, SigningFault> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| SigningFault::NotPem)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{KeyPair, UnparsedPublicKey};

    use super::*;

    const HEADER: &str = r#"{"alg":"ES256"}"#;
    const CLAIMS: &str = r#"{"iss":"client"}"#;

    fn parts(token: &str) -> (String, Vec<u8>) {
        let (input, signature) = token.rsplit_once('.').unwrap();
        (input.to_owned(), BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap())
    }

    fn pem(kind: &str, der: &[u8]) -> String {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    }

    /// RFC 7515 appendix A.1, with the key as bytes of text.
    #[test]
    fn a_shared_key_signs_as_the_rfc_says() {
        let token = Algorithm::Hs256.token("secret", r#"{"alg":"HS256","typ":"JWT"}"#, "{}");
        let (input, signature) = parts(&token.unwrap());
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert!(hmac::verify(&key, input.as_bytes(), &signature).is_ok());
        assert!(input.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
        assert_eq!(Algorithm::Hs256.token(" ", "{}", "{}"), Err(SigningFault::Empty));
    }

    #[test]
    fn private_keys_sign_what_their_public_keys_verify() {
        let random = rand::SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref()).unwrap();
        let key = pem("PRIVATE KEY", der.as_ref());
        let (input, signed) = parts(&Algorithm::Es256.token(&key, HEADER, CLAIMS).unwrap());
        let public = pair.public_key().as_ref().to_vec();
        let verify = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public);
        assert!(verify.verify(input.as_bytes(), &signed).is_ok());
        assert_eq!(Algorithm::Rs256.token(&key, HEADER, CLAIMS), Err(SigningFault::OtherKind));
        assert_eq!(Algorithm::Es256.token("x", HEADER, CLAIMS), Err(SigningFault::NotPem));

        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&pair);
        let key = pem("PRIVATE KEY", der.unwrap().as_ref());
        let (input, signed) = parts(&Algorithm::Rs256.token(&key, HEADER, CLAIMS).unwrap());
        let public = pair.public_key().as_ref().to_vec();
        let verify = UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public);
        assert!(verify.verify(input.as_bytes(), &signed).is_ok());
    }
}
