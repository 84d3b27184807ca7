//! See `doorward::properties::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::answers(data));
