//! Judges what somebody wrote, configuration and recipes alike, and reports every fault at once:
//! file, line, column, excerpt, and what was probably meant. No excerpt shows a secret.

mod alternatives;
mod conceal;
mod constraints;
mod document;
mod fault;
mod format;
mod judge;
mod pointer;
mod spans;
mod structure;
mod suggestion;

pub use document::Document;
pub use fault::{Fault, Faults, Paint};
pub(crate) use judge::{Difference, Finding, Place, Scope, findings};
pub use pointer::Pointer;
pub use suggestion::suggestion;

#[cfg(test)]
mod tests;
