//! The outgoing side: where an upstream is, connections to it, and what can go wrong on the way.
//!
//! Each core has pools of its own; the control side has another. The walk sees [`Pool::send`] and,
//! behind it, one small type, `connection::Connection`.

mod connection;
pub mod error;
mod http1;
mod idle;
pub mod origin;
pub mod pool;
mod pump;
mod request;
mod stream;
pub mod tls;

pub use connection::Expectation;
pub use error::{Broken, ConnectError, SendError};
pub use origin::{Http2, Origin};
pub use pool::{Answer, AnswerBody, Pool};
pub use request::RequestHead;
