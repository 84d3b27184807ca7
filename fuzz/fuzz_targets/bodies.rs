//! See `doorward::properties::bodies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::bodies(data));
