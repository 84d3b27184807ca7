//! See `doorward::properties::configurations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::configurations(data));
