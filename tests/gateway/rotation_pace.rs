//! Secrets are looked after at their own pace: what happens to one does not hold up another.

use std::fs;
use std::time::Duration;

use doorward::emulator::{User, Vendor};
use doorward::telemetry::{Event, Rotation, Stage};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Setup, until, write};
use crate::vendors::read;

/// A regular file that is another one at each look (random(4)).
const NEVER_THE_SAME: &str = "/proc/sys/kernel/random/uuid";

/// Fails when a file that changes without end holds up the commands of other accounts.
#[tokio::test]
async fn a_command_is_run_again_beside_a_file_that_never_settles() {
    let vendor = Vendor::Contentstack;
    let folder = TempDir::new().unwrap();
    let secret = write(folder.path(), "secret", &vendor.seeded_user().password);
    let mut setup = Setup::of(vendor).tables(&format!(
        "[upstreams.vendor.accounts.restless]\nusername = \"restless\"\n\
         password = {{ file = {NEVER_THE_SAME:?}, trim = true }}\n"
    ));
    setup.password = Some(format!(
        "{{ command = [\"/bin/cat\", {secret:?}], refresh = \"15m\", verbatim = true }}"
    ));
    let scene = setup.start().await;
    scene.control().switch("sessions_outlive_password", json!(true)).unwrap();
    assert_eq!(read(&scene).send().await.status, 200);
    for new in ["the new password", "the newer password"] {
        scene.control().add_user(User::new(vendor.seeded_user().login, new));
        fs::write(&secret, new).unwrap();
        let before = rotations(&scene.events());
        scene.clock.advance(Duration::from_secs(15 * 60));
        until("the command is run again", || rotations(&scene.events()) > before).await;
    }
    assert_eq!(scene.control().counters().logins_refused, 0);
    scene.stop().await;
}

/// How many rotations are over.
fn rotations(events: &[Event]) -> usize {
    let is_done = |event: &&Event| {
        matches!(event, Event::Rotation(Rotation { stage: Stage::Done { .. }, .. }))
    };
    events.iter().filter(is_done).count()
}
