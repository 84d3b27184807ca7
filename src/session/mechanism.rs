//! The mechanisms that keep sessions safe, by name: a test that claims to notice one switches it off and must
//! then fail.

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

impl std::str::FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(name: &str) -> Result<Self, UnknownMechanism> {
        match name {
            "generation-guard" => Ok(Self::GenerationGuard),
            "replay" => Ok(Self::Replay),
            "logout" => Ok(Self::Logout),
            "lock-out-guard" => Ok(Self::LockOutGuard),
            _ => Err(UnknownMechanism),
        }
    }
}

/// No mechanism has this name.
#[derive(Debug, thiserror::Error)]
#[error("the mechanisms are generation-guard, replay, logout, lock-out-guard")]
pub struct UnknownMechanism;
