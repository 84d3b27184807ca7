//! See `doorward::properties::replay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::replay(data));
