//! One-time codes from a shared secret: time-based (RFC 6238) over HMAC (RFC 4226).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// What vendors mean when they show a bare secret, and the defaults of the URI: six digits, a new
/// code every 30 seconds (RFC 6238 section 4).
const DIGITS: u32 = 6;
const PERIOD_SECONDS: u64 = 30;

/// Vendors use 30 or 60 seconds. A login waits as long for the next code, so there is a bound.
const PERIOD_SECONDS_MAX: u64 = 300;

/// A last used step that lies further ahead than this comes from a clock that was wrong. No
/// upstream accepts such a code, and waiting for its end would shut the account out.
const AHEAD_SECONDS_MAX: u64 = 300;

/// Makes one-time codes.
pub struct Totp {
    key: hmac::Key,
    digits: u32,
    period_seconds: u64,
}

/// A time step of one-time codes, named by its end in seconds since 1970, so that steps of
/// different lengths can be compared. Each step's code is good once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TotpStep(pub u64);

/// A text that makes no one-time codes. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TotpFault {
    /// It is no base32.
    #[error("the secret is no base32 text (A to Z, 2 to 7)")]
    NotBase32,
    /// It holds nothing.
    #[error("the secret is empty")]
    Empty,
    /// Another kind of URI.
    #[error("the URI does not begin with `otpauth://totp/`; only time-based codes are known")]
    OtherKind,
    /// No `secret`.
    #[error("the `otpauth` URI has no `secret`")]
    NoSecret,
    /// An `algorithm` that is not known.
    #[error("the `algorithm` of the `otpauth` URI is none of SHA1, SHA256, SHA512")]
    Algorithm,
    /// Another number of `digits`.
    #[error("the `digits` of the `otpauth` URI are not 6, 7 or 8")]
    Digits,
    /// No possible `period`.
    #[error("the `period` of the `otpauth` URI is not 1 to {PERIOD_SECONDS_MAX} seconds")]
    Period,
}

impl Totp {
    /// Reads what a vendor shows: base32 as people copy it (spaces, dashes, either case, with or
    /// without padding), or an `otpauth://totp/` URI, whose `algorithm`, `digits` and `period` are
    /// obeyed (the "Key Uri Format" of authenticator apps).
    ///
    /// # Errors
    /// What is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, TotpFault> {
        let text = text.trim();
        match text.split_once("://") {
            None => Self::new(&hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("otpauth") => Self::from_uri(rest),
            Some(_) => Err(TotpFault::OtherKind),
        }
    }

    fn new(algorithm: &'static hmac::Algorithm, secret: &str) -> Result<Self, TotpFault> {
        let key = hmac::Key::new(*algorithm, &base32(secret)?);
        Ok(Self { key, digits: DIGITS, period_seconds: PERIOD_SECONDS })
    }

    fn from_uri(rest: &str) -> Result<Self, TotpFault> {
        let (kind, query) = rest.split_once('?').ok_or(TotpFault::NoSecret)?;
        let kind = kind.split('/').next().unwrap_or_default();
        if !kind.eq_ignore_ascii_case("totp") {
            return Err(TotpFault::OtherKind);
        }
        let query = query.split('#').next().unwrap_or_default();
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(given, _)| given.eq_ignore_ascii_case(name));
            found.map(|(_, value)| Zeroizing::new(decoded(value)))
        };
        let algorithm = match value("algorithm") {
            None => &hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Some(name) => match name.replace('-', "").to_ascii_uppercase().as_str() {
                "SHA1" => &hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                "SHA256" => &hmac::HMAC_SHA256,
                "SHA512" => &hmac::HMAC_SHA512,
                _ => return Err(TotpFault::Algorithm),
            },
        };
        let digits = value("digits").map_or(Some(DIGITS), |digits| digits.parse().ok());
        let period = value("period").map_or(Some(PERIOD_SECONDS), |period| period.parse().ok());
        Ok(Self {
            digits: digits.filter(|digits| (6..=8).contains(digits)).ok_or(TotpFault::Digits)?,
            period_seconds: period
                .filter(|period| (1..=PERIOD_SECONDS_MAX).contains(period))
                .ok_or(TotpFault::Period)?,
            ..Self::new(algorithm, &value("secret").ok_or(TotpFault::NoSecret)?)?
        })
    }

    /// The code that is good at this wall time.
    pub fn code_at(&self, wall: SystemTime) -> Zeroizing<String> {
        let step = seconds(wall) / self.period_seconds;
        let tag = hmac::sign(&self.key, &step.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226 section 5.3: the last four bits say where the 31-bit number begins.
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
        let number = tag.iter().skip(offset).take(4).fold(0_u32, |n, b| n << 8 | u32::from(*b));
        let code = (number & 0x7fff_ffff) % 10_u32.pow(self.digits);
        Zeroizing::new(format!("{code:0width$}", width = self.digits as usize))
    }

    /// The step that this wall time is in.
    pub fn step_at(&self, wall: SystemTime) -> TotpStep {
        let step = seconds(wall) / self.period_seconds;
        TotpStep(step.saturating_add(1).saturating_mul(self.period_seconds))
    }

    /// Until when to wait if a code of the step at `wall` would be a second use; `used` is the last
    /// step whose code was used.
    pub fn wait(&self, used: Option<TotpStep>, wall: SystemTime) -> Option<SystemTime> {
        let used = used.filter(|used| self.step_at(wall).is_spent_by(*used))?;
        UNIX_EPOCH.checked_add(Duration::from_secs(used.0))
    }
}

impl TotpStep {
    /// Whether the code of this step cannot be used any more after `used` was.
    pub fn is_spent_by(self, used: TotpStep) -> bool {
        used >= self && used.0 - self.0 <= AHEAD_SECONDS_MAX
    }
}

fn seconds(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// RFC 4648 section 6. Bits that fill no byte are dropped, as authenticator apps do.
fn base32(text: &str) -> Result<Zeroizing<Vec<u8>>, TotpFault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-') {
        let value = match letter {
            'A'..='Z' => u32::from(letter) - u32::from('A'),
            'a'..='z' => u32::from(letter) - u32::from('a'),
            '2'..='7' => u32::from(letter) - u32::from('2') + 26,
            '=' => break,
            _ => return Err(TotpFault::NotBase32),
        };
        bits = (bits << 5 | value) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    if bytes.is_empty() { Err(TotpFault::Empty) } else { Ok(bytes) }
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Totp").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE32;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn code(text: &str, seconds: u64) -> String {
        Totp::parse(text).unwrap().code_at(at(seconds)).to_string()
    }

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        const DIGITS: &str = "1234567890";
        for (algorithm, length, codes) in [
            ("SHA1", 20, ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"]),
            (
                "SHA256",
                32,
                ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"],
            ),
            (
                "SHA512",
                64,
                ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"],
            ),
        ] {
            let key: String = DIGITS.chars().cycle().take(length).collect();
            let secret = BASE32.encode(key.as_bytes()).replace('=', "%3D");
            let uri = format!("otpauth://totp/a:b?secret={secret}&algorithm={algorithm}&digits=8");
            let times =
                [59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000];
            for (seconds, expected) in times.into_iter().zip(codes) {
                assert_eq!(code(&uri, seconds), expected, "{algorithm} at {seconds}");
            }
        }
    }

    #[test]
    fn a_secret_is_read_as_people_copy_it() {
        for text in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n",
            "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ======",
            "OTPAUTH://TOTP/Company?issuer=x&SECRET=gezdgnbvgy3tqojqgezdgnbvgy3tqojq#f",
            "otpauth://totp/?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&algorithm=sha-1&digits=6&period=30",
        ] {
            assert_eq!(code(text, 59), "287082", "{text}");
        }
        assert_eq!(
            code("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=60", 119),
            code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 30)
        );
    }

    /// Fails when a bad secret is taken for another one, or is shown.
    #[test]
    fn a_bad_secret_is_told_without_its_value() {
        for (text, fault) in [
            ("", TotpFault::Empty),
            (" == ", TotpFault::Empty),
            ("JBSWY3DP1", TotpFault::NotBase32),
            ("hunter2!", TotpFault::NotBase32),
            ("https://totp/x?secret=JBSWY3DP", TotpFault::OtherKind),
            ("otpauth://hotp/x?secret=JBSWY3DP&counter=1", TotpFault::OtherKind),
            ("otpauth://totp/x?issuer=y", TotpFault::NoSecret),
            ("otpauth://totp/JBSWY3DP", TotpFault::NoSecret),
            ("otpauth://totp/x?secret=", TotpFault::Empty),
            ("otpauth://totp/x?secret=JBSWY3DP&algorithm=MD5", TotpFault::Algorithm),
            ("otpauth://totp/x?secret=JBSWY3DP&digits=9", TotpFault::Digits),
            ("otpauth://totp/x?secret=JBSWY3DP&digits=six", TotpFault::Digits),
            ("otpauth://totp/x?secret=JBSWY3DP&period=0", TotpFault::Period),
            ("otpauth://totp/x?secret=JBSWY3DP&period=301", TotpFault::Period),
        ] {
            let told = Totp::parse(text).unwrap_err();
            assert_eq!(told, fault, "{text}");
            assert!(!told.to_string().contains("JBSWY3DP") && !told.to_string().contains("hunter"));
        }
        assert_eq!(format!("{:?}", Totp::parse("JBSWY3DP").unwrap()), "Totp { .. }");
    }

    /// Fails when a step's code may be used twice, when a wait does not end with the step, and when
    /// a clock that was a day ahead shuts the account out.
    #[test]
    fn a_step_is_used_once() {
        let totp = Totp::parse("JBSWY3DP").unwrap();
        let used = totp.step_at(at(59));
        assert_eq!(used, TotpStep(60));
        assert_eq!(totp.wait(None, at(59)), None);
        assert_eq!(totp.wait(Some(used), at(30)), Some(at(60)));
        assert_eq!(totp.wait(Some(used), at(59)), Some(at(60)));
        // The clock was set back by less than a step.
        assert_eq!(totp.wait(Some(used), at(29)), Some(at(60)));
        assert_eq!(totp.wait(Some(used), at(60)), None);
        assert_eq!(totp.wait(Some(TotpStep(86_400)), at(60)), None);
    }
}
