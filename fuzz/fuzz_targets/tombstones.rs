//! See `doorward::properties::tombstones`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::tombstones(data));
