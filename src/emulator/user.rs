//! The accounts that an emulator knows.

use serde::Deserialize;

use super::totp::Totp;

/// An account. Its `Debug` shows no password: emulators also run in demonstrations.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// E-mail address or user name.
    pub login: String,
    /// What the user proves it with.
    pub password: String,
    /// How the vendor treats this user's logins.
    #[serde(default)]
    pub kind: Kind,
}

/// How the vendor treats a user's logins.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// The password suffices.
    #[default]
    Normal,
    /// Every login is refused until an administrator helps.
    Locked,
    /// The password and a one-time code.
    SecondFactor {
        /// What the codes are made from; base32 in JSON.
        secret: Totp,
    },
    /// The user logs in at an identity provider; a password gives no session.
    SingleSignOn,
}

impl User {
    /// A normal user.
    pub fn new(login: impl Into<String>, password: impl Into<String>) -> Self {
        Self { login: login.into(), password: password.into(), kind: Kind::Normal }
    }

    /// The same user, treated otherwise.
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("User").field("login", &self.login).finish_non_exhaustive()
    }
}
