//! What must hold for any bytes, room by room: run by the fuzzer (`fuzz/`) on bytes that it makes up,
//! and by a plain `cargo test` on those that it has found worth keeping. Not part of the product.

pub use crate::access::properties::{tokens, tombstones};
pub use crate::audit::properties::trails;
pub use crate::conformance::properties::upstreams;
pub use crate::forward::coding::properties::codings;
pub use crate::forward::properties::{bodies, fields};
pub use crate::forward::replay::properties::replay;
pub use crate::login::properties::{cookies, logins};
pub use crate::recipe::properties::recipes;
pub use crate::route::properties::paths;
pub use crate::server::properties::requests;
pub use crate::settings::properties::configurations;
pub use crate::shield::properties::{masks, redactor};
pub use crate::state::properties::states;
pub use crate::upstream::properties::answers;

/// Reads choices out of bytes. What is missing at the end is zero or empty, so that all bytes mean
/// something. Most choices are lines of text: then seeds can be written by hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws<'d>(&'d [u8]);

impl<'d> Draws<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let number = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        number % end
    }

    /// The bytes up to the end of the line.
    pub(crate) fn line(&mut self) -> &'d [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    /// The line as text; what is none in it is replaced.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.line()).into_owned()
    }

    pub(crate) fn rest(self) -> &'d [u8] {
        self.0
    }
}

/// A text in pieces of these lengths, which begin anew at their end; one piece where there is none.
pub(crate) fn pieces<'t>(mut text: &'t [u8], lengths: &[u8]) -> Vec<&'t [u8]> {
    let mut lengths = lengths.iter().map(|length| usize::from(*length)).cycle();
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let length = lengths.next().map_or(text.len(), |length| length.clamp(1, text.len()));
        let (piece, rest) = text.split_at(length);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

/// The fields of a head, one a line, as far as they can stand in one.
pub(crate) fn head(draws: &mut Draws<'_>) -> crate::fields::Fields {
    let mut fields = crate::fields::Fields::new();
    loop {
        let line = draws.line();
        if line.is_empty() {
            return fields;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    type Property = fn(&[u8]);

    /// Every target of the fuzzer and what it runs.
    const ALL: [(&str, Property); 18] = [
        ("answers", super::answers),
        ("bodies", super::bodies),
        ("codings", super::codings),
        ("configurations", super::configurations),
        ("cookies", super::cookies),
        ("fields", super::fields),
        ("logins", super::logins),
        ("masks", super::masks),
        ("paths", super::paths),
        ("recipes", super::recipes),
        ("redactor", super::redactor),
        ("replay", super::replay),
        ("requests", super::requests),
        ("states", super::states),
        ("tokens", super::tokens),
        ("tombstones", super::tombstones),
        ("trails", super::trails),
        ("upstreams", super::upstreams),
    ];

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    /// The names of the files in a folder, without what stands behind the dot.
    fn names(folder: &Path) -> BTreeSet<String> {
        let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
        files.map(|file| stem(&file.unwrap().path())).collect()
    }

    /// Fails when a property does not hold for bytes for which it once did not, or which are there
    /// because they reach what others do not.
    #[test]
    fn every_property_holds_for_every_kept_input() {
        for (name, property) in ALL {
            let mut count = 0;
            for file in fs::read_dir(folder("corpus").join(name)).unwrap() {
                let path = file.unwrap().path();
                // Shown where it fails.
                println!("{}", path.display());
                property(&fs::read(&path).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no input");
        }
    }

    #[test]
    fn the_fuzzer_runs_every_property() {
        let all: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&folder("fuzz_targets")), all);
        assert_eq!(names(&folder("corpus")), all);
        let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
        for name in &all {
            let path = format!("path = \"fuzz_targets/{name}.rs\"");
            assert!(manifest.contains(&path), "{name} is no binary in fuzz/Cargo.toml");
            let target = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs")));
            assert!(target.unwrap().contains(&format!("doorward::properties::{name}(data)")));
        }
    }

    /// What a repository can carry.
    const CORPUS_BYTES_MAX: u64 = 500 * 1000;

    #[test]
    fn the_kept_inputs_are_small() {
        let mut bytes = 0;
        for (name, _) in ALL {
            let files = fs::read_dir(folder("corpus").join(name)).unwrap();
            bytes += files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
        }
        assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
    }
}
