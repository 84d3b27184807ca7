//! What is the same in HTTP/1.1 towards clients and towards upstreams.

pub mod chunked;
pub mod head;
pub mod reading;
pub mod turns;
pub mod waiting;
