//! The signature algorithms that a token may have, and the keys that fit them. There is neither
//! `none` nor HMAC among them: a public key can never become a secret that both sides know (RFC
//! 8725 sections 2.1 and 3.1).

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// Shorter RSA keys are not used (RFC 7518 sections 3.3 and 3.5).
pub const RSA_BITS_MIN: usize = 2048;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// ECDSA with P-521 and SHA-512.
    Es512,
    /// EdDSA; here always with Ed25519.
    EdDsa,
    /// The same by its newer name.
    Ed25519,
}

/// All of them.
pub const ALGORITHMS: [Algorithm; 11] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::EdDsa,
    Algorithm::Ed25519,
];

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is for another algorithm.
    Foreign,
    /// It is for this algorithm and cannot be read, or is too weak.
    Bad,
}

impl Algorithm {
    /// Its name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The one of this name, which is case-sensitive.
    pub fn named(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The key that a JWK holds for this algorithm. `kty` and `crv` must be the algorithm's.
    pub(super) fn key(self, jwk: &Map<String, Value>) -> Result<ParsedPublicKey, Unfit> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        match self.family() {
            Family::Rsa(parameters) => {
                if text("kty") != Some("RSA") {
                    return Err(Unfit::Foreign);
                }
                let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
                let leading = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
                if n.len() * 8 - leading.min(n.len() * 8) < RSA_BITS_MIN {
                    return Err(Unfit::Bad);
                }
                let components = RsaPublicKeyComponents { n, e };
                components.to_parsed_public_key(parameters).map_err(|_| Unfit::Bad)
            }
            Family::Ec(curve, bytes, algorithm) => {
                if text("kty") != Some("EC") || text("crv") != Some(curve) {
                    return Err(Unfit::Foreign);
                }
                let (x, y) = (number(jwk, "x")?, number(jwk, "y")?);
                // RFC 7518 section 6.2.1.2: each has the length of a coordinate of the curve.
                if x.len() != bytes || y.len() != bytes {
                    return Err(Unfit::Bad);
                }
                let point: Vec<u8> = [&[UNCOMPRESSED][..], &x, &y].concat();
                ParsedPublicKey::new(algorithm, point).map_err(|_| Unfit::Bad)
            }
            Family::Ed => {
                if text("kty") != Some("OKP") || text("crv") != Some("Ed25519") {
                    return Err(Unfit::Foreign);
                }
                let x = number(jwk, "x")?;
                ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| Unfit::Bad)
            }
        }
    }

    fn family(self) -> Family {
        use signature as by;
        match self {
            Self::Rs256 => Family::Rsa(&by::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Family::Rsa(&by::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Family::Rsa(&by::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Family::Rsa(&by::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Family::Rsa(&by::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Family::Rsa(&by::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Family::Ec("P-256", 32, &by::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Family::Ec("P-384", 48, &by::ECDSA_P384_SHA384_FIXED),
            Self::Es512 => Family::Ec("P-521", 66, &by::ECDSA_P521_SHA512_FIXED),
            Self::EdDsa | Self::Ed25519 => Family::Ed,
        }
    }
}

/// How a point begins that is not compressed (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

enum Family {
    Rsa(&'static RsaParameters),
    Ec(&'static str, usize, &'static EcdsaVerificationAlgorithm),
    Ed,
}

fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unfit> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(Unfit::Bad)?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Unfit::Bad)
}
