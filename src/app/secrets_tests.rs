//! A file only counts when two looks find the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::recipe;
use crate::session::AccountId;
use crate::telemetry::reports;

fn looking(file: &Path) -> Looking {
    let (name, _) = recipe::BUILT_IN.first().unwrap();
    let recipe = Recipe::load(&recipe::built_in(name).unwrap(), &BTreeMap::new());
    let source = Source::strict(Place::File(file.to_owned()));
    let recipe = Arc::new(recipe.unwrap_or_else(|faults| panic!("{faults}")));
    let credentials = crate::app::build::credentials(&recipe, []);
    let kept = Kept {
        account: Arc::new(Account::new(AccountId(0), "account", String::new(), credentials)),
        upstream_name: Arc::from("upstream"),
        recipe,
        fields: vec![Field::new("password", SecretText::from("old".to_owned()), Some(source))],
    };
    let (reporter, _) = reports();
    let watch = Watch::new(Arc::default());
    Looking { watch, accounts: vec![kept], environment: Environment::given([]), reporter }
}

/// Fails when a secret that is still being written is taken over.
#[test]
fn a_secret_is_taken_over_when_two_looks_find_the_same() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    write(&file, "old");
    let mut looking = looking(&file);
    // What is written, which accounts have another secret then, and whether all is settled.
    let steps: [(&str, &[usize], bool); 9] = [
        ("old", &[], true),
        ("n", &[], false),
        ("ne", &[], false),
        ("new", &[], false),
        ("new", &[0], true),
        ("new", &[], true),
        ("", &[], false),
        ("newer", &[], false),
        ("new", &[], true),
    ];
    for (number, (secret, changed, is_settled)) in steps.into_iter().enumerate() {
        write(&file, secret);
        let look = looking.look();
        assert_eq!((&*look.changed, look.is_settled), (changed, is_settled), "step {number}");
    }
    let field = looking.field((0, 0)).unwrap();
    assert_eq!((field.text.expose(), &field.told), ("new", &None), "an empty moment is no trouble");
}

/// An account with two secrets, and the files that both are in.
fn pair(folder: &Path) -> (Looking, [PathBuf; 2]) {
    let files = ["first", "second"].map(|name| folder.join(name));
    files.iter().for_each(|file| write(file, "old"));
    let mut looking = looking(&files[0]);
    let source = Source::strict(Place::File(files[1].clone()));
    let field = Field::new("second", SecretText::from("old".to_owned()), Some(source));
    looking.accounts[0].fields.push(field);
    assert!(looking.look().is_settled);
    (looking, files)
}

fn write(file: &Path, secret: &str) {
    fs::write(file, secret).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Fails when two files that stay unreadable, the second a look later than the first, are looked at
/// without end, or when what is wrong with one is told more than once.
#[test]
fn files_that_stay_unreadable_settle_however_they_became_so() {
    let folder = TempDir::new().unwrap();
    let (mut looking, [first, second]) = pair(folder.path());
    fs::remove_file(&first).unwrap();
    assert!(!looking.look().is_settled);
    fs::remove_file(&second).unwrap();
    assert!(!looking.look().is_settled, "the second has been seen once");
    for _ in 0..10 {
        assert!(looking.look().is_settled, "both have been seen as they are");
    }
    // What comes back is noticed as anything else that has changed.
    write(&first, "new");
    assert!(!looking.look().is_settled);
    assert_eq!(looking.look().changed, [0]);
}

/// Fails when an account is rotated while one of its secrets is still changing: a login with half
/// of a new pair is refused for certain.
#[test]
fn an_account_is_not_rotated_while_one_of_its_secrets_is_changing() {
    let folder = TempDir::new().unwrap();
    let (mut looking, [first, second]) = pair(folder.path());
    write(&first, "new");
    assert!(!looking.look().is_settled);
    write(&second, "new");
    let look = looking.look();
    assert!(!look.is_settled);
    assert_eq!(look.changed, Vec::<usize>::new(), "rotated to half of a new pair");
    let texts = |looking: &Looking| {
        [0, 1].map(|field| looking.field((0, field)).unwrap().text.expose().to_owned())
    };
    assert_eq!(texts(&looking), ["old", "old"], "whoever rotates now takes half of a pair");
    assert_eq!(looking.look().changed, [0]);
    assert_eq!(texts(&looking), ["new", "new"]);
    assert_eq!(looking.look().changed, Vec::<usize>::new(), "it was told before");
}

/// Fails when the output of a command is taken while a file of the same account is changing, or is
/// forgotten then.
#[test]
fn what_a_command_prints_waits_for_a_file_that_is_changing() {
    let folder = TempDir::new().unwrap();
    let (mut looking, [first, _]) = pair(folder.path());
    looking.accounts[0].fields[1].source = None;
    let printed = || Found::Text(SecretText::from("printed".to_owned()));
    write(&first, "new");
    assert!(!looking.look().is_settled);
    assert!(!looking.printed((0, 1), printed()), "rotated to half of a new pair");
    assert_eq!(looking.look().changed, [0]);
    assert_eq!(looking.field((0, 1)).unwrap().text.expose(), "printed");
    assert!(!looking.printed((0, 1), printed()), "it was told before");
}
