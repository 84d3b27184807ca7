//! What a demonstration does with each vendor's server: the requests to send, what their answers
//! hold, and how Doorward is told of the seeded account. Everything here is public; no
//! demonstration holds a secret.

use http::{Method, StatusCode};

/// What a demonstration does with one vendor's server.
#[derive(Clone, Debug)]
pub struct Demonstration {
    /// How this vendor's sessions work, in a few words.
    pub sessions: &'static str,
    /// The built-in recipe for it.
    pub recipe: &'static str,
    /// The recipe's parameters.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The account's field for the login name.
    pub login_field: &'static str,
    /// The account's field for the password.
    pub password_field: &'static str,
    /// Two reads with different paths, neither of which is part of the other.
    pub reads: [Call; 2],
    /// A write that the server counts; it is not idempotent.
    pub write: Call,
    /// The vendor's own login call with a made-up account: Doorward answers it itself.
    pub local_login: Call,
}

/// A request and what a good answer to it looks like.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does, as the middle of a sentence.
    pub purpose: &'static str,
    /// The method.
    pub method: Method,
    /// Path and query at the vendor's server.
    pub target: &'static str,
    /// Header fields besides those of every request.
    pub headers: &'static [(&'static str, &'static str)],
    /// A JSON text; empty for a request without a body.
    pub body: &'static str,
    /// The status of a good answer.
    pub status: StatusCode,
    /// A part of the body of a good answer.
    pub answer: &'static str,
}

impl Call {
    /// A read that is answered with 200.
    pub(super) fn read(purpose: &'static str, target: &'static str, answer: &'static str) -> Self {
        Self {
            purpose,
            method: Method::GET,
            target,
            headers: &[],
            body: "",
            status: StatusCode::OK,
            answer,
        }
    }

    /// Something sent by POST that is answered with 200.
    pub(super) fn post(
        purpose: &'static str,
        target: &'static str,
        body: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { method: Method::POST, body, ..Self::read(purpose, target, answer) }
    }

    /// The target without its query.
    pub fn path(&self) -> &'static str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Vendor;

    #[test]
    fn an_answer_to_one_read_can_be_held_without_the_other() {
        for vendor in Vendor::ALL {
            let [first, second] = vendor.demonstration().reads;
            assert!(!first.target.contains(second.path()), "{vendor}");
            assert!(!second.target.contains(first.path()), "{vendor}");
        }
    }

    #[test]
    fn no_demonstration_holds_the_password() {
        for vendor in Vendor::ALL {
            let demonstration = format!("{:?}", vendor.demonstration());
            assert!(!demonstration.contains(&vendor.seeded_user().password), "{vendor}");
        }
    }
}
