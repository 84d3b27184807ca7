//! See `doorward::properties::upstreams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::upstreams(data));
