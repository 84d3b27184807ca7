//! A file only counts when two looks find the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::recipe;
use crate::telemetry::reports;

fn looking(file: &Path) -> Looking {
    let (name, _) = recipe::BUILT_IN.first().unwrap();
    let recipe = Recipe::load(&recipe::built_in(name).unwrap(), &BTreeMap::new());
    let source = Source::strict(Place::File(file.to_owned()));
    let kept = Kept {
        upstream: UpstreamId(0),
        account: AccountId(0),
        upstream_name: Arc::from("upstream"),
        account_name: Arc::from("account"),
        recipe: Arc::new(recipe.unwrap_or_else(|faults| panic!("{faults}"))),
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
    let write = |secret: &str| {
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("old");
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
        write(secret);
        let look = looking.look();
        assert_eq!((&*look.changed, look.is_settled), (changed, is_settled), "step {number}");
    }
    let field = looking.field((0, 0)).unwrap();
    assert_eq!((field.text.expose(), &field.told), ("new", &None), "an empty moment is no trouble");
}
