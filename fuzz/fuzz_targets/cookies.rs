//! See `doorward::properties::cookies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::cookies(data));
