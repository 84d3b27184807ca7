//! See `doorward::properties::trails`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::trails(data));
