//! What must hold for any audit trail.

// What does not hold ends the test.
#![allow(clippy::panic)]

use std::path::PathBuf;

use super::chain::{Chain, Hash, Seal};
use super::line::{Line, cleared};
use super::verify::{Break, Verified, Walk};
use crate::properties::Draws;
use crate::secret::SecretText;

/// A trail that was written holds; any change of any byte of it is told, and so is every line that is
/// missing, unless it is the last.
pub fn trails(data: &[u8]) {
    let mut draws = Draws::new(data);
    let choices = draws.byte();
    let seal = match choices & 1 {
        1 => Seal::keyed(&SecretText::from("the key that seals the trail of a test".to_owned())),
        _ => Seal::Plain,
    };
    let (count, position) = (draws.below(6) + 1, draws.below(5000));
    let (change, name) = (draws.byte(), draws.text());
    any_bytes(&seal, draws.rest());
    let lines = written(&seal, count, &name);
    let whole = lines.concat();
    let verified = verify(&seal, &[&whole]).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(verified.lines, lines.len() as u64);
    assert_eq!((verified.lost, verified.cut_off.len(), verified.unstopped.len()), (0, 0, 0));
    changed(&seal, &whole, position, change);
    shortened(&seal, &lines, position, &verified);
    let (one, other) = (lines.iter().take(1).flatten(), lines.iter().skip(1).flatten());
    let (one, other): (Vec<u8>, Vec<u8>) = (one.copied().collect(), other.copied().collect());
    assert!(verify(&seal, &[&other, &one]).is_err(), "in another order");
    let other_seal = match seal {
        Seal::Plain => Seal::keyed(&SecretText::from("another key".to_owned())),
        Seal::Keyed(_) => Seal::Plain,
    };
    assert!(verify(&other_seal, &[&whole]).is_err(), "with another key");
}

fn verify(seal: &Seal, files: &[&[u8]]) -> Result<Verified, Break> {
    let paths: Vec<PathBuf> =
        (0..files.len()).map(|number| format!("trail-{number}").into()).collect();
    let mut walk = Walk::new(seal, None);
    for (path, bytes) in paths.iter().zip(files) {
        walk.file(path, *bytes)?;
    }
    walk.end(paths.last())
}

/// What verifies has lines, and each of them stands in it.
fn any_bytes(seal: &Seal, bytes: &[u8]) {
    let half = bytes.split_at(bytes.len() / 2);
    _ = verify(seal, &[half.0, half.1]);
    if let Ok(verified) = verify(seal, &[bytes]) {
        assert!(verified.lines > 0);
        assert!(verified.lines <= bytes.split(|byte| *byte == b'\n').count() as u64);
        let hash = verified.last_hash.to_string();
        assert!(bytes.windows(hash.len()).any(|part| part == hash.as_bytes()));
    }
}

/// A trail of so many lines behind its first one.
fn written(seal: &Seal, count: usize, name: &str) -> Vec<Vec<u8>> {
    let begin = Line::file(Hash::NONE, seal, None, None);
    let mut lines = vec![begin, Line::started()];
    lines.extend((0..count).map(|_| cleared(name, "user", name, 3)));
    lines.push(Line::stopped());
    let mut chain = Chain::NEW;
    let push = |line: &Line| {
        let mut bytes = Vec::new();
        chain.push(seal, line, &mut bytes);
        bytes
    };
    lines.iter().map(push).collect()
}

fn changed(seal: &Seal, whole: &[u8], position: usize, change: u8) {
    let mut bytes = whole.to_vec();
    let place = position % bytes.len();
    bytes.get_mut(place).into_iter().for_each(|byte| *byte = change);
    // The end of the last line belongs to whoever goes on.
    if bytes != whole && place + 1 < whole.len() {
        let found = verify(seal, &[&bytes]);
        assert!(found.is_err(), "{place}: {found:?}");
    }
}

fn shortened(seal: &Seal, lines: &[Vec<u8>], position: usize, verified: &Verified) {
    let gone = position % lines.len();
    let rest = lines.iter().enumerate().filter(|(number, _)| *number != gone);
    let rest: Vec<u8> = rest.flat_map(|(_, line)| line.clone()).collect();
    let found = verify(seal, &[&rest]);
    let is_last = gone + 1 == lines.len();
    assert_eq!(found.is_ok(), is_last, "{gone}: {found:?}");
    // Cut off where a crash does it: told, but no break.
    let whole = lines.concat();
    let cut = whole.len() - 1 - position % lines.last().map_or(1, Vec::len).max(2) / 2;
    let found = verify(seal, &[whole.get(..cut).unwrap_or_default()]);
    let found = found.unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(found.cut_off.len(), 1, "{cut}");
    assert!(found.lines + 1 >= verified.lines);
}
