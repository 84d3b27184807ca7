//! Why a request is not sent a second time: a closed list, the same in the answer's
//! `Doorward-Replay`, in the request's record and in the documents.

/// Why a request is not sent a second time after its session was found dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body is longer than is kept.
    BodyTooLarge,
    /// The bodies under way together are as long as is kept.
    NoRoom,
    /// The file for what memory does not hold could not be made or written in time.
    SpillFailed,
    /// The recipe allows it for safe methods only.
    UnsafeMethod,
    /// The recipe never allows it for this answer.
    Never,
    /// Replay is switched off, to prove that a test notices.
    SwitchedOff,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Refusal; 6] = [
        Self::BodyTooLarge,
        Self::NoRoom,
        Self::SpillFailed,
        Self::UnsafeMethod,
        Self::Never,
        Self::SwitchedOff,
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::NoRoom => "no_room",
            Self::SpillFailed => "spill_failed",
            Self::UnsafeMethod => "unsafe_method",
            Self::Never => "never",
            Self::SwitchedOff => "switched_off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a reason is added that the document does not explain.
    #[test]
    fn every_reason_that_a_client_can_get_is_documented() {
        let document = include_str!("../../../docs/ERRORS.md");
        for refusal in Refusal::ALL {
            let row = format!("\n| `{}` |", refusal.as_str());
            let internal = refusal == Refusal::SwitchedOff;
            assert_eq!(document.contains(&row), !internal, "{refusal:?}");
        }
    }
}
