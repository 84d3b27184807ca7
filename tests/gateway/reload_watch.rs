//! The configuration is read again when a file has changed, where that is asked for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use doorward::emulator::Vendor;
use doorward::telemetry::{Event, Reload, ReloadStage};

use crate::harness::{Scene, Setup, until, write};
use crate::vendors::read;

const VENDOR: Vendor = Vendor::Contentstack;

async fn watched() -> Scene {
    Setup::of(VENDOR).tables("[reload]\nwatch = true\n# here\n").start().await
}

fn stages(scene: &Scene) -> Vec<ReloadStage> {
    let events = scene.events();
    let stages = events.iter().filter_map(|event| match event {
        Event::Reload(Reload { stage, .. }) => Some(stage.clone()),
        _ => None,
    });
    stages.collect()
}

fn is_done(stage: &&ReloadStage) -> bool {
    matches!(stage, ReloadStage::Done { .. })
}

/// Waits until so many reloads have succeeded.
async fn done(scene: &Scene, reloads: usize) {
    let count = || stages(scene).iter().filter(is_done).count();
    until("the configuration is reloaded", || count() >= reloads).await;
    assert_eq!(count(), reloads);
}

/// As Kubernetes does: what changes is where `..data` leads.
fn swap_data(file: &Path, version: &str, text: &str) {
    let folder = file.parent().unwrap();
    fs::create_dir(folder.join(version)).unwrap();
    write(&folder.join(version), "doorward.toml", text);
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !file.is_symlink() {
        symlink("..data/doorward.toml", folder.join("linked")).unwrap();
        fs::rename(folder.join("linked"), file).unwrap();
    }
}

/// Fails when a way of changing a file goes unnoticed, or when a reload costs a login.
#[tokio::test]
async fn a_changed_file_is_read_again_however_it_was_changed() {
    let scene = watched().await;
    assert_eq!(read(&scene).send().await.status, 200);
    scene.change_config("# here", "[timeouts]\nlogin = \"9s\"\n# here");
    done(&scene, 1).await;
    let text = fs::read_to_string(scene.config()).unwrap();
    let renamed = write(scene.folder.path(), ".new", &text.replace("9s", "8s"));
    fs::rename(renamed, scene.config()).unwrap();
    done(&scene, 2).await;
    swap_data(&scene.config(), "..first", &text.replace("9s", "7s"));
    done(&scene, 3).await;
    swap_data(&scene.config(), "..second", &text.replace("9s", "6s"));
    done(&scene, 4).await;
    // The same in another place is no change, and one that follows is seen.
    swap_data(&scene.config(), "..third", &text.replace("9s", "6s"));
    swap_data(&scene.config(), "..fourth", &text.replace("9s", "5s"));
    done(&scene, 5).await;
    let counters = scene.control().counters();
    assert_eq!((counters.logins, counters.logouts), (1, 0));
    scene.stop().await;
}

/// Fails when a file that cannot be used ends the watching, or is tried again and again.
#[tokio::test]
async fn a_broken_file_is_told_once_and_its_repair_is_noticed() {
    let scene = watched().await;
    scene.change_config("# here", "[timeots]\n# here");
    let failed = || {
        let stages = stages(&scene);
        let failed = stages.iter().filter_map(|stage| match stage {
            ReloadStage::Failed { faults, .. } => Some(faults.join(" ")),
            _ => None,
        });
        failed.collect::<Vec<_>>()
    };
    until("it is told", || !failed().is_empty()).await;
    assert!(failed()[0].contains("timeots"), "{:?}", failed());
    assert_eq!(read(&scene).send().await.status, 200);
    scene.change_config("[timeots]", "[timeouts]");
    done(&scene, 1).await;
    assert_eq!(failed().len(), 1, "told again");
    scene.stop().await;
}

/// Fails when files that are named, or lie beside the configuration, are not watched.
#[tokio::test]
async fn recipes_certificates_and_further_files_are_watched_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let recipes = doorward::recipe::BUILT_IN;
    let (_, text) = recipes.iter().find(|(name, _)| *name == "contentstack").unwrap();
    let path = write(folder.path(), "mine.toml", text);
    let mut setup = Setup::of(VENDOR).tables("[reload]\nwatch = true\n");
    setup.recipe = format!("recipe_file = {path:?}");
    setup.listener_tls = true;
    let scene = setup.start().await;
    assert_eq!(read(&scene).send().await.status, 200);
    write(folder.path(), "mine.toml", &text.replace("sessions_max = 5", "sessions_max = 4"));
    done(&scene, 1).await;
    let names = ["localhost", "127.0.0.1"];
    let renewed = doorward::emulator::Certificate::for_names(&names).unwrap();
    // Both within the moment in which files settle, or else the first of them is told as a fault.
    write(scene.folder.path(), "listener.key", &renewed.key_pem());
    write(scene.folder.path(), "listener.crt", renewed.certificate_pem());
    done(&scene, 2).await;
    fs::create_dir(scene.folder.path().join("conf.d")).unwrap();
    write(&scene.folder.path().join("conf.d"), "more.toml", "[timeouts]\nlogin = \"9s\"\n");
    done(&scene, 3).await;
    scene.stop().await;
}

/// Fails when files are watched although nobody has asked for it, or when it cannot be asked for
/// while Doorward runs.
#[tokio::test]
async fn watching_is_asked_for() {
    let scene = Setup::of(VENDOR).tables("# here\n").start().await;
    scene.change_config("# here", "[reload]\nwatch = true\n# here");
    // Had anybody looked, it would have been read by the time that the next change is.
    scene.reload().await;
    done(&scene, 1).await;
    scene.change_config("# here", "[timeouts]\nlogin = \"9s\"\n# here");
    done(&scene, 2).await;
    scene.stop().await;
}
