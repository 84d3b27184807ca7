//! What a crash leaves behind: no core, unless it was asked for.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use doorward::emulator::{Emulator, Options, Vendor};

use crate::site::{Doorward, Site, ask};

/// Whatever the shell allows.
const UNLIMITED: &str = "ulimit -c unlimited && exec \"$0\" \"$@\"";

/// Fails when the memory of a crashed process, with sessions and passwords in it, is written out.
#[tokio::test]
async fn a_crash_leaves_no_core_unless_the_configuration_allows_it() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    for (run, table, dumps) in [(0, "", false), (1, "core_dumps = \"allowed\"\n", true)] {
        let site = Site::new(&emulator);
        let text = std::fs::read_to_string(site.path().join("doorward.toml")).unwrap();
        let text = text.replace("[runtime]\n", &format!("[runtime]\n{table}"));
        site.write("doorward.toml", &text);
        let mut doorward = Doorward::start_prepared(&site, run, UNLIMITED, Stdio::null()).await;
        assert!(ask(doorward.address, Vendor::MFiles).await.starts_with("HTTP/1.1 200"));
        doorward.signal_by("-ABRT").await;
        let status = doorward.ended().await;
        assert_eq!(status.signal(), Some(6), "{status}");
        assert_eq!(status.core_dumped(), dumps, "{status}");
    }
}
