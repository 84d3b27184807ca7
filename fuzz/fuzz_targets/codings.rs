//! See `doorward::properties::codings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::codings(data));
