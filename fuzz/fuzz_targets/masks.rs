//! See `doorward::properties::masks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::masks(data));
