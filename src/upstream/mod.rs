//! The outgoing side: where an upstream is, connections to it, and what can go wrong on the way.
//!
//! Each core has pools of its own; the control side has another. The walk sees [`Pool::send`] and,
//! behind it, one small type, `connection::Connection`.

mod addresses;
mod connection;
mod dial;
pub mod error;
mod given;
mod health;
mod http1;
mod http2;
mod idle;
pub mod origin;
pub mod pool;
mod prohibited;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties {
    //! What must hold for any answer.
    pub use super::http1::properties::answers;
}
mod proxy;
mod pump;
mod request;
mod resolve;
mod stream;
pub mod tls;
mod wait;
mod view;

pub use connection::Expectation;
pub use dial::{Dialler, Observer, Reach};
pub use error::{Broken, ConnectError, ErrorType, ProxyError, SendError, Unreached, with_causes};
pub use health::Tolerance;
pub use origin::{Http2, Origin, Proxy, Way};
pub use pool::{Answer, AnswerBody, Pool};
pub use prohibited::Network;
pub use request::RequestHead;
pub use resolve::{Asked, Names, Resolver};
pub use view::{AddressView, ReachView};
pub use wait::{Stage, Wait};
