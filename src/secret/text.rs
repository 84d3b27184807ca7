//! A secret's text: not printable, not serializable, wiped when its last holder is gone.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroize;

/// A secret. Clones share one copy in memory; equality takes the same time wherever two secrets of
/// one length differ. `Debug` shows the length only.
#[derive(Clone)]
pub struct SecretText(Arc<SecretString>);

impl SecretText {
    /// Takes `text` over; what memory `text` leaves behind is wiped.
    pub fn new(mut text: String) -> Self {
        // `into_boxed_str` moves a text that has spare room and would leave the old copy behind.
        let held: Box<str> = Box::from(text.as_str());
        text.zeroize();
        Self(Arc::new(SecretString::from(held)))
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The length in characters, which may be shown.
    pub fn characters(&self) -> usize {
        self.expose().chars().count()
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.expose().as_bytes(), other.expose().as_bytes());
        aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[secret, {} characters]", self.characters())
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_length_is_shown() {
        let secret = SecretText::new("hünter2".to_owned());
        assert_eq!(format!("{secret:?}"), "[secret, 7 characters]");
        assert_eq!(secret.expose(), "hünter2");
    }

    #[test]
    fn equality_is_by_text() {
        let secret = |text: &str| SecretText::new(text.to_owned());
        assert_eq!(secret("hunter2"), secret("hunter2").clone());
        assert_ne!(secret("hunter2"), secret("hunter3"));
        assert_ne!(secret("hunter2"), secret("hunter"));
    }
}
