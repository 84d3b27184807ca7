//! A secret that changes while Doorward runs is taken over without anybody noticing, or not at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorward::emulator::{User, Vendor, contentstack};
use doorward::telemetry::{Event, Rotation, SecretTrouble, Stage};
use serde_json::json;
use tempfile::TempDir;

use crate::client::Call;
use crate::harness::{Ended, Scene, Setup, until, within, write};
use crate::vendors::{login_line, read};

const NEW: &str = "the new password";
const NEWER: &str = "the newer password";
const WRONG: &str = "mistyped by somebody";

/// The vendor of [`scene`].
const VENDOR: Vendor = Vendor::Contentstack;

/// A scene in which sessions outlive a change of their user's password.
async fn scene(setup: Setup) -> Scene {
    scene_with(setup, &[]).await
}

async fn scene_with(setup: Setup, variables: &[(&str, &str)]) -> Scene {
    let scene = setup.start_with(variables).await;
    scene.control().switch("sessions_outlive_password", json!(true)).unwrap();
    scene
}

/// A read that can be held alone.
fn last_read(scene: &Scene) -> Call {
    let call = scene.call("GET", "/v3/content_types?last=1");
    call.header("api_key", contentstack::API_KEY)
}

/// The stages of all rotations so far.
fn stages(events: &[Event]) -> Vec<Stage> {
    let stages = events.iter().filter_map(|event| match event {
        Event::Rotation(Rotation { stage, .. }) => Some(stage.clone()),
        _ => None,
    });
    stages.collect()
}

fn has(scene: &Scene, is_meant: impl Fn(&Stage) -> bool) -> bool {
    stages(&scene.events()).iter().any(is_meant)
}

async fn done(scene: &Scene, rotations: usize) {
    let is_done = |stage: &&Stage| matches!(stage, Stage::Done { .. });
    until("the rotation is done", || {
        stages(&scene.events()).iter().filter(is_done).count() == rotations
    })
    .await;
}

fn password_file(scene: &Scene) -> PathBuf {
    scene.folder.path().join("password")
}

/// The vendor takes another password from now on.
fn changed_at_the_vendor(scene: &Scene, password: &str) {
    let login = scene.emulator.vendor().seeded_user().login;
    scene.control().add_user(User::new(login, password));
}

/// As `echo` and most programs do.
fn rewrite(file: &Path, secret: &str) {
    fs::write(file, secret).unwrap();
}

/// As editors and careful programs do.
fn rename_over(file: &Path, secret: &str) {
    let other = write(file.parent().unwrap(), ".password.new", secret);
    fs::rename(other, file).unwrap();
}

/// As Kubernetes does: what changes is where `..data` leads.
fn swap_data(file: &Path, secret: &str) {
    let folder = file.parent().unwrap();
    let version = format!("..{}", secret.len());
    fs::create_dir(folder.join(&version)).unwrap();
    write(&folder.join(&version), "password", secret);
    symlink(&version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !file.is_symlink() {
        symlink("..data/password", folder.join("password.link")).unwrap();
        fs::rename(folder.join("password.link"), file).unwrap();
    }
}

async fn stop(scene: Scene) -> Ended {
    let ended = scene.stop().await;
    let events = format!("{:?}", ended.events);
    for secret in [NEW, NEWER, WRONG] {
        assert!(!events.contains(secret), "a secret was reported");
    }
    ended
}

/// Fails when a way of changing a file goes unnoticed, or when a file that is as it was costs a
/// login.
#[tokio::test]
async fn a_changed_file_is_noticed_however_it_was_changed() {
    for (change, how) in [
        (rewrite as fn(&Path, &str), "rewritten"),
        (rename_over, "renamed over"),
        (swap_data, "swapped"),
    ] {
        let scene = scene(Setup::of(VENDOR)).await;
        assert_eq!(read(&scene).send().await.status, 200);
        // The same secret in another file is no change.
        change(&password_file(&scene), &VENDOR.seeded_user().password);
        for (rotations, secret) in [NEW, NEWER].into_iter().enumerate() {
            changed_at_the_vendor(&scene, secret);
            change(&password_file(&scene), secret);
            done(&scene, rotations + 1).await;
            assert_eq!(read(&scene).send().await.status, 200, "{how}");
        }
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_refused), (3, 0), "{how}");
        let begun = stages(&scene.events()).into_iter().filter(|stage| *stage == Stage::Begun);
        assert_eq!(begun.count(), 2, "{how}");
        stop(scene).await;
    }
}

/// Fails when the old session is given up before the new one is there, or is logged out under the
/// requests that carry it.
#[tokio::test]
async fn no_request_notices_a_rotation() {
    let scene = Arc::new(scene(Setup::of(VENDOR)).await);
    assert_eq!(read(&scene).send().await.status, 200);
    let hold = scene.control().hold("last=1");
    let last = last_read(&scene).spawn();
    within(hold.arrived(1)).await;

    let running = Arc::new(AtomicBool::new(true));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (scene, running) = (Arc::clone(&scene), Arc::clone(&running));
            tokio::spawn(async move {
                let mut sent = 0;
                while running.load(Ordering::Relaxed) {
                    assert_eq!(read(&scene).send().await.status, 200);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    changed_at_the_vendor(&scene, NEW);
    rewrite(&password_file(&scene), NEW);
    done(&scene, 1).await;
    assert_eq!(scene.control().counters().logouts, 0, "a request still carries the old session");
    running.store(false, Ordering::Relaxed);
    for client in clients {
        assert!(within(client).await.unwrap() > 0);
    }
    hold.release();
    assert_eq!(within(last).await.unwrap().status, 200);
    until("the old session is logged out", || scene.control().counters().logouts == 1).await;
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.live_sessions), (2, 0, 1));
    assert_eq!(counters.requests_with_dead_credential, 0);
    assert_eq!(counters.logins_with_credential, 0);
    let generation = stages(&scene.events()).into_iter().find_map(|stage| match stage {
        Stage::Done { generation, .. } => generation,
        _ => None,
    });
    assert_eq!(generation, Some(2));
    stop(Arc::into_inner(scene).unwrap()).await;
}

/// Fails when a new secret is used before a login has proved it, or is tried a second time.
#[tokio::test]
async fn a_new_secret_that_is_refused_changes_nothing() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        assert_eq!(read(&scene).send().await.status, 200);
        rewrite(&password_file(&scene), WRONG);
        until("it is refused", || has(&scene, |stage| matches!(stage, Stage::Refused { .. })))
            .await;
        for _ in 0..20 {
            assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        }
        // Neither looking again nor the same secret once more makes another attempt.
        scene.clock.advance(Duration::from_secs(3600));
        rename_over(&password_file(&scene), WRONG);
        scene.control().expire_sessions();
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}: the old secret is lost");
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_refused), (2, 1), "{vendor}");
        assert_eq!(counters.lockouts, 0, "{vendor}");
        let ended = stop(scene).await;
        let refused = Stage::Refused { cause: "bad_secret" };
        assert_eq!(stages(&ended.events), [Stage::Begun, refused], "{vendor}");
        let quarantined = |event: &Event| matches!(event, Event::Quarantined { .. });
        assert!(
            !ended.events.iter().any(quarantined),
            "{vendor}: the account is as good as before"
        );
    }
}

/// Fails when a changed secret does not open a quarantined account, or does so more than once.
#[tokio::test]
async fn a_new_secret_opens_a_quarantined_account_for_one_attempt() {
    for vendor in Vendor::ALL {
        let wrong = User::new(vendor.seeded_user().login, WRONG);
        let scene = Setup::of(vendor).user(wrong).start().await;
        assert_eq!(read(&scene).send().await.problem(), "login_refused", "{vendor}");
        rewrite(&password_file(&scene), "mistyped again");
        done(&scene, 1).await;
        for _ in 0..20 {
            assert_eq!(read(&scene).send().await.problem(), "login_refused", "{vendor}");
        }
        assert_eq!(scene.control().counters().logins_refused, 2, "{vendor}");
        rewrite(&password_file(&scene), &vendor.seeded_user().password);
        done(&scene, 2).await;
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_refused), (1, 2), "{vendor}");
        assert_eq!(counters.lockouts, 0, "{vendor}");
        stop(scene).await;
    }
}

/// Fails when a new secret without a living session costs a login that nobody needs, or when the
/// old one is forgotten before the new one was good.
#[tokio::test]
async fn without_a_session_the_next_request_tries_the_new_secret_and_falls_back() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        rewrite(&password_file(&scene), WRONG);
        done(&scene, 1).await;
        assert_eq!(scene.control().counters().requests, 0, "{vendor}: nobody needs a session");
        assert_eq!(read(&scene).send().await.status, 200, "{vendor}");
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.logins_refused), (1, 1), "{vendor}");
        let ended = stop(scene).await;
        let refused = Stage::Refused { cause: "bad_secret" };
        assert_eq!(stages(&ended.events).last(), Some(&refused), "{vendor}");
    }
}

/// Fails when a second session is opened where only one may be, when somebody gets an error for
/// it, or when a refused new secret ends in no session.
#[tokio::test]
async fn where_one_session_is_all_requests_wait_for_the_next() {
    let folder = TempDir::new().unwrap();
    let recipe = include_str!("../../config/recipes/contentstack.toml")
        .replace("sessions_max = 5", "sessions_max = 1");
    assert!(recipe.contains("sessions_max = 1"));
    let recipe = write(folder.path(), "one.toml", &recipe);
    for (secret, logins, refused) in [(NEW, 2, 0), (WRONG, 2, 1)] {
        let mut setup = Setup::of(VENDOR);
        setup.recipe = format!("recipe_file = {recipe:?}");
        let scene = scene(setup).await;
        assert_eq!(read(&scene).send().await.status, 200);
        let hold = scene.control().hold("last=1");
        let last = last_read(&scene).spawn();
        within(hold.arrived(1)).await;
        if secret == NEW {
            changed_at_the_vendor(&scene, NEW);
        }
        rewrite(&password_file(&scene), secret);
        until("the rotation has begun", || has(&scene, |stage| *stage == Stage::Begun)).await;
        let waiting: Vec<_> = (0..10).map(|_| read(&scene).spawn()).collect();
        assert_eq!(scene.control().counters().logouts, 0, "the old session is in use");
        hold.release();
        assert_eq!(within(last).await.unwrap().status, 200);
        for call in waiting {
            assert_eq!(within(call).await.unwrap().status, 200, "{secret}");
        }
        until("the old session is logged out", || scene.control().counters().logouts == 1).await;
        until("the new one is there", || scene.control().counters().logins == logins).await;
        let counters = scene.control().counters();
        assert_eq!((counters.logins_refused, counters.live_sessions), (refused, 1));
        let ended = stop(scene).await;
        match secret {
            NEW => assert!(matches!(stages(&ended.events)[1], Stage::Done { .. })),
            _ => assert!(matches!(stages(&ended.events)[1], Stage::Refused { .. })),
        }
    }
}

/// Fails when rotations of one account run at the same time, or when one that waits is tried
/// although there is something newer.
#[tokio::test]
async fn of_two_quick_changes_the_newer_one_counts() {
    let scene = scene(Setup::of(VENDOR)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.control().maintenance(true);
    rewrite(&password_file(&scene), NEW);
    until("it waits", || has(&scene, |stage| matches!(stage, Stage::Waiting { .. }))).await;
    let tried = logins_sent(&scene);
    rewrite(&password_file(&scene), NEWER);
    until("the newer one has begun", || {
        stages(&scene.events()).iter().filter(|stage| **stage == Stage::Begun).count() == 2
    })
    .await;
    changed_at_the_vendor(&scene, NEWER);
    scene.control().maintenance(false);
    // The session has stayed in use all the time.
    assert_eq!(read(&scene).send().await.status, 200);
    until("the newer one is taken over", || {
        scene.clock.advance(Duration::from_millis(10));
        has(&scene, |stage| matches!(stage, Stage::Done { .. }))
    })
    .await;
    assert_eq!(read(&scene).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logins_refused), (2, 0), "the older one was tried again");
    assert_eq!(counters.logins_at_once_max, 1);
    assert_eq!(logins_sent(&scene), tried + 1);
    stop(scene).await;
}

/// Fails when a change that comes during the login of another one is lost, or cuts that short.
#[tokio::test]
async fn a_change_during_a_rotation_follows_it() {
    let scene = scene(Setup::of(VENDOR)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let hold = scene.control().hold(login_line(VENDOR));
    changed_at_the_vendor(&scene, NEW);
    rewrite(&password_file(&scene), NEW);
    within(hold.arrived(1)).await;
    changed_at_the_vendor(&scene, NEWER);
    rewrite(&password_file(&scene), NEWER);
    hold.release();
    done(&scene, 2).await;
    assert_eq!(read(&scene).send().await.status, 200);
    until("the other sessions are logged out", || scene.control().counters().logouts == 2).await;
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.live_sessions), (3, 0, 1));
    assert_eq!(counters.logins_at_once_max, 1);
    stop(scene).await;
}

/// Fails when a secret that was refused before is tried again, or silently ignored, when it comes
/// back.
#[tokio::test]
async fn a_refused_secret_that_comes_back_is_told_and_not_tried() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let is_refusal = |stage: &&Stage| matches!(stage, Stage::Refused { .. });
    for (times, secret) in [WRONG, "mistyped again", WRONG, "mistyped again"].iter().enumerate() {
        rewrite(&password_file(&scene), secret);
        until("it is refused", || {
            stages(&scene.events()).iter().filter(is_refusal).count() == times + 1
        })
        .await;
    }
    assert_eq!(scene.control().counters().logins_refused, 2);
    assert_eq!(read(&scene).send().await.status, 200);
    stop(scene).await;
}

/// Fails when a rotation that is under way at the stop leaves a session open.
#[tokio::test]
async fn a_rotation_under_way_at_the_stop_leaves_no_session_open() {
    for vendor in Vendor::ALL {
        let mut scene = Scene::of(vendor).await;
        assert_eq!(read(&scene).send().await.status, 200);
        // The old sessions of some vendors end here; the new one must not stay.
        changed_at_the_vendor(&scene, NEW);
        let hold = scene.control().hold(login_line(vendor));
        rewrite(&password_file(&scene), NEW);
        within(hold.arrived(1)).await;
        let stopping = tokio::spawn(scene.take_app().stop());
        hold.release();
        within(stopping).await.unwrap();
        let counters = scene.control().counters();
        assert_eq!((counters.logins, counters.live_sessions), (2, 0), "{vendor}");
    }
}

/// Fails when a secret that is gone ends the sessions of the last one, or when it is not told.
#[tokio::test]
async fn a_secret_that_is_gone_or_empty_is_told_and_the_last_one_kept() {
    let scene = scene(Setup::of(VENDOR)).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let told = |scene: &Scene, what: &str| {
        scene.events().iter().any(|event| match event {
            Event::SecretTrouble(SecretTrouble::Unreadable { why, .. }) => why.contains(what),
            _ => false,
        })
    };
    let file = password_file(&scene);
    rewrite(&file, "");
    until("it is told that it is empty", || told(&scene, "is empty")).await;
    fs::remove_file(&file).unwrap();
    until("it is told that it is gone", || told(&scene, "does not exist")).await;
    write(scene.folder.path(), ".new", WRONG);
    fs::set_permissions(scene.folder.path().join(".new"), fs::Permissions::from_mode(0o666))
        .unwrap();
    fs::rename(scene.folder.path().join(".new"), &file).unwrap();
    until("it is told that others may write it", || told(&scene, "changed by others")).await;
    scene.control().expire_sessions();
    assert_eq!(read(&scene).send().await.status, 200, "the last secret is lost");
    changed_at_the_vendor(&scene, NEW);
    rename_over(&file, NEW);
    done(&scene, 1).await;
    assert_eq!(scene.control().counters().logins_refused, 0);
    stop(scene).await;
}

/// Fails when files are only looked at when their directory tells of a change.
#[tokio::test]
async fn a_directory_that_is_not_watched_is_looked_at_from_time_to_time() {
    let folder = TempDir::new().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    let file = write(&secrets, "password", &VENDOR.seeded_user().password);
    let mut setup = Setup::of(VENDOR);
    setup.password = Some(format!("{{ file = {file:?}, verbatim = true }}"));
    let scene = scene(setup).await;
    assert_eq!(read(&scene).send().await.status, 200);
    fs::remove_dir_all(&secrets).unwrap();
    until("it is told that the directory is gone", || {
        let is_unwatched =
            |event: &Event| matches!(event, Event::SecretTrouble(SecretTrouble::Unwatched { .. }));
        scene.events().iter().any(is_unwatched)
    })
    .await;
    // Nobody watches the directory above: only looking finds it again.
    fs::create_dir(&secrets).unwrap();
    write(&secrets, "password", NEW);
    changed_at_the_vendor(&scene, NEW);
    until("it is found", || {
        scene.clock.advance(Duration::from_secs(1));
        has(&scene, |stage| matches!(stage, Stage::Done { .. }))
    })
    .await;
    assert_eq!(read(&scene).send().await.status, 200);
    stop(scene).await;
}

/// Fails when a command is not run again after its `refresh`, when its failure ends anything, or
/// when what it says on standard error is told.
#[tokio::test]
async fn a_command_is_run_again_after_its_refresh() {
    let folder = TempDir::new().unwrap();
    let secret = write(folder.path(), "secret", &VENDOR.seeded_user().password);
    let script = write(folder.path(), "script", "cat \"$1\"");
    let mut setup = Setup::of(VENDOR);
    setup.password = Some(format!(
        "{{ command = [\"/bin/sh\", {script:?}, {secret:?}], refresh = \"15m\", verbatim = true }}"
    ));
    let scene = scene_with(setup, &[("PATH", "/usr/bin:/bin")]).await;
    assert_eq!(read(&scene).send().await.status, 200);
    let look_again = async |what: &str, holds: &dyn Fn() -> bool| {
        scene.clock.advance(Duration::from_secs(15 * 60));
        until(what, holds).await;
    };

    fs::write(&script, format!("echo '{WRONG}' >&2; exit 1")).unwrap();
    look_again("the failure is told", &|| {
        scene.events().iter().any(|event| match event {
            Event::SecretTrouble(SecretTrouble::Unreadable { why, .. }) => {
                why.contains("exit status: 1")
            }
            _ => false,
        })
    })
    .await;
    assert_eq!(read(&scene).send().await.status, 200);

    changed_at_the_vendor(&scene, NEW);
    fs::write(&script, "cat \"$1\"").unwrap();
    rewrite(&secret, NEW);
    assert_eq!(stages(&scene.events()), [], "a command is not watched");
    look_again("it is taken over", &|| has(&scene, |stage| matches!(stage, Stage::Done { .. })))
        .await;
    assert_eq!(read(&scene).send().await.status, 200);
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logins_refused), (2, 0));
    stop(scene).await;
}

/// How many login calls arrived.
fn logins_sent(scene: &Scene) -> usize {
    let line = login_line(scene.emulator.vendor());
    let records = scene.control().requests();
    records.iter().filter(|one| format!("{} {}", one.method, one.target).contains(line)).count()
}
