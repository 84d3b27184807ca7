//! See `doorward::properties::recipes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::recipes(data));
