//! See `doorward::properties::fields`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::fields(data));
