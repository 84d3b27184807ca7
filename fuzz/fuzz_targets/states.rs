//! See `doorward::properties::states`.
#![no_main]

use std::panic;

// A damaged file makes the store's library panic, which Doorward catches: only other panics end the
// run.
libfuzzer_sys::fuzz_target!(
    init: {
        let ends_the_run = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|place| place.file().contains("/redb-")) {
                ends_the_run(info);
            }
        }));
    },
    |data: &[u8]| doorward::properties::states(data)
);
