//! See `doorward::properties::paths`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::paths(data));
