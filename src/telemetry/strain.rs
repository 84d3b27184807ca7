//! What is told of how much the process can still take on.

/// More or less is taken on than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strain {
    /// `normal`; `shedding`: new requests are refused; `full`: new connections, too.
    pub load: &'static str,
    /// How much of the descriptors is in use, where that is known.
    pub descriptors_percent: Option<u64>,
    /// The same of memory.
    pub memory_percent: Option<u64>,
    /// Connections of clients.
    pub connections: u64,
}
