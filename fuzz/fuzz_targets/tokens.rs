//! See `doorward::properties::tokens`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::tokens(data));
