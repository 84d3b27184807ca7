//! The mechanisms that keep sessions safe, by name: a test that claims to notice one switches it
//! off and must then fail.

/// A mechanism that can be switched off to prove that its test notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// A late answer of an older session does not end the newer one.
    GenerationGuard,
    /// A request whose session was dead is sent again on the new one.
    Replay,
    /// Sessions are logged out when Doorward stops.
    Logout,
    /// A refused account gets no more logins.
    LockOutGuard,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Mechanism; 4] =
        [Self::GenerationGuard, Self::Replay, Self::Logout, Self::LockOutGuard];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GenerationGuard => "generation-guard",
            Self::Replay => "replay",
            Self::Logout => "logout",
            Self::LockOutGuard => "lock-out-guard",
        }
    }
}

impl std::str::FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(name: &str) -> Result<Self, UnknownMechanism> {
        let known = Self::ALL.into_iter().find(|mechanism| mechanism.as_str() == name);
        known.ok_or(UnknownMechanism)
    }
}

/// No mechanism has this name.
#[derive(Debug, thiserror::Error)]
#[error("the mechanisms are generation-guard, replay, logout, lock-out-guard")]
pub struct UnknownMechanism;
