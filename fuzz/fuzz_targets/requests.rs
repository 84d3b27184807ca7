//! See `doorward::properties::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::requests(data));
