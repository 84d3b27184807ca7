//! Who calls: client keys and their digests.

pub mod key;
