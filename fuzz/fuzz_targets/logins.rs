//! See `doorward::properties::logins`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorward::properties::logins(data));
