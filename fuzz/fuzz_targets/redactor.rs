//! See `doorward::properties::redactor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::redactor(data));
