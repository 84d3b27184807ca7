//! Pure rules on messages that pass through, without I/O: what is hop-by-hop, what a session adds,
//! what an answer says of the session and of the next request, and the body that can be sent a second time.

pub mod body;
pub mod coding;
pub mod grpc;
pub mod hop;
pub mod inject;
pub mod location;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod replay;
pub mod target;
pub mod throttle;
pub mod trailers;
pub mod upgrade;
pub mod verdict;
pub mod via;
mod xml;
