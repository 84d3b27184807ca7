//! The vault: where secrets come from and the one type that holds them. A secret's text is seen
//! only through [`SecretText::expose`]; everything else shows its length or its fingerprint.

mod command;
mod environment;
mod error;
mod fingerprint;
mod forms;
mod sampled;
mod search;
mod signing;
mod source;
mod text;
mod totp;
mod watch;

pub use command::{Command, Conversed};
pub use environment::Environment;
pub use error::{SecretError, SecretWarning};
pub use fingerprint::Fingerprint;
pub use forms::in_base64;
pub use search::{PIECE_BYTES_MAX, SEARCHED_BYTES_MIN, Search};
pub use signing::{Algorithm, SigningFault};
pub use source::{Place, SECRET_BYTES_MAX, Source, Taking, Unsealed};
pub use text::SecretText;
pub use totp::{Totp, TotpFault, TotpStep};
pub use watch::{Unwatched, Watch};
