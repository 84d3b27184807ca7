//! Watches the directories of secret files. A file's own watch would miss what replaces it: editors
//! rename a new file over it, and Kubernetes turns the link `..data` to another directory. That
//! something has happened is all that is told; whether a secret has changed, its content says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Links from a file to the next that are followed; Linux follows as many (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Watches directories. Dropped, it ends its thread.
#[derive(Debug)]
pub struct Watch {
    watcher: Result<RecommendedWatcher, String>,
    changed: Arc<Notify>,
    watched: BTreeSet<PathBuf>,
    /// Those that could not be watched and have been told.
    failed: BTreeSet<PathBuf>,
}

/// A directory whose changes nobody tells us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwatched {
    /// The directory.
    pub directory: PathBuf,
    /// Why, in the system's words.
    pub why: String,
}

impl Watch {
    /// A watch that follows nothing yet; `changed` is notified whenever something has happened.
    pub fn new(changed: Arc<Notify>) -> Self {
        let teller = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A failed watch is told, too: looking does no harm.
            if event.is_ok_and(|event| is_reading(&event.kind)) {
                return;
            }
            teller.notify_one();
        });
        let watcher = watcher.map_err(|error| error.to_string());
        Self { watcher, changed, watched: BTreeSet::new(), failed: BTreeSet::new() }
    }

    /// Is notified whenever something has happened.
    pub fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }

    /// Watches the directories that lead to these files, and no others. To be called again after
    /// every change: links can lead elsewhere, and a directory can be another one under the same
    /// name. Returns the directories that cannot be watched, each once. Blocks on the file system.
    pub fn follow<'f>(&mut self, files: impl IntoIterator<Item = &'f Path>) -> Vec<Unwatched> {
        let wanted: BTreeSet<PathBuf> = files.into_iter().flat_map(directories).collect();
        let mut unwatched = Vec::new();
        for directory in &wanted {
            match self.add(directory) {
                Ok(()) => _ = self.failed.remove(directory),
                Err(why) if self.failed.insert(directory.clone()) => {
                    unwatched.push(Unwatched { directory: directory.clone(), why });
                }
                Err(_) => {}
            }
        }
        if let Ok(watcher) = &mut self.watcher {
            for left in self.watched.difference(&wanted) {
                // It may be gone, and its watch with it.
                _ = watcher.unwatch(left);
            }
        }
        self.failed.retain(|directory| wanted.contains(directory));
        self.watched = wanted;
        unwatched
    }

    /// Whether every directory that leads to the files is watched.
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    fn add(&mut self, directory: &Path) -> Result<(), String> {
        let watcher = self.watcher.as_mut().map_err(|why| why.clone())?;
        // Watching a second time costs one system call and changes nothing.
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(|error| error.to_string())
    }
}

/// Our own looking must not make us look again.
fn is_reading(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

/// The directories in which a file, or a link on the way to it, can be replaced.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut at = file.to_owned();
    for _ in 0..=LINKS_MAX {
        let parent = match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Under its real name: a directory that a link leads to is another one after the link has
        // been turned. One that is missing is asked for by the name that it should have.
        found.insert(parent.canonicalize().unwrap_or_else(|_| parent.to_owned()));
        match std::fs::read_link(&at) {
            Ok(target) => at = parent.join(target),
            Err(_) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_directories_of_a_linked_file_are_all_that_can_replace_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..2026")).unwrap();
        std::fs::write(root.join("..2026/password"), "x").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/password", root.join("password")).unwrap();
        let found = directories(&root.join("password"));
        assert_eq!(found, BTreeSet::from([root.clone(), root.join("..2026")]));
    }

    #[test]
    fn a_circle_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(directories(&folder.path().join("a")).len(), 1);
    }

    #[test]
    fn a_directory_that_is_missing_is_told_once_and_watched_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later/password");
        let mut watch = Watch::new(Arc::default());
        assert_eq!(watch.follow([&*file]).len(), 1);
        assert!(watch.follow([&*file]).is_empty(), "told twice");
        std::fs::create_dir(folder.path().join("later")).unwrap();
        assert!(watch.follow([&*file]).is_empty());
        assert!(watch.failed.is_empty());
    }

    #[tokio::test]
    async fn what_is_only_read_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "x").unwrap();
        let mut watch = Watch::new(Arc::default());
        assert!(watch.follow([&*file]).is_empty());
        std::fs::read(&file).unwrap();
        // The events of one directory come in order: the first that is told is the write's.
        std::fs::write(&file, "y").unwrap();
        watch.changed().notified().await;
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(is_reading(&read));
        assert!(!is_reading(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
    }
}
