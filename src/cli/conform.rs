//! `doorward recipes test`: recipes held against their conformance files, offline.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Exit;
use crate::conformance::{self, Conformance, Difference};
use crate::diagnosis::{Document, Faults, Paint};
use crate::recipe;

/// The longest recipe and the longest conformance file that are read, in bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a recipe cannot be tested.
#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error("{}: it cannot be read: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: it is longer than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    #[error("{}", .0.report(Paint::Plain))]
    Faults(Faults),
    #[error("{0}; for a file of your own give its path")]
    Unknown(#[from] recipe::UnknownRecipe),
    #[error("the recipe `{0}` has no conformance file")]
    Untold(String),
    #[error(
        "{}: there is no such file; it tells what the upstream answers, and what the recipe must make \
         of it (docs/RECIPES.md, \"Conformance files\")",
        .0.display()
    )]
    NotBeside(PathBuf),
}

impl From<Faults> for TestError {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

/// Tests each: a file, or the name of a built-in recipe; without any, all built-in ones. All are
/// looked at, whatever the first ones come to.
pub(super) fn test(
    recipes: &[String],
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let built_in = || recipe::BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    let recipes: Vec<String> = if recipes.is_empty() { built_in() } else { recipes.to_vec() };
    let mut exit = Exit::Ok;
    for name in &recipes {
        match test_one(name) {
            Err(error) => {
                writeln!(errors, "error: {error}")?;
                exit = Exit::Failed;
            }
            Ok((file, differences)) if differences.is_empty() => {
                let (refused, answers) = (file.refused.len(), file.answers.len());
                let endpoints = file.endpoints.len();
                writeln!(
                    out,
                    "{name}: conforms ({refused} refusals, {answers} answers, {endpoints} endpoints)"
                )?;
            }
            Ok((_, differences)) => {
                writeln!(out, "{name}: does something else")?;
                for difference in differences {
                    writeln!(out, "  {difference}")?;
                }
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn test_one(name: &str) -> Result<(Conformance, Vec<Difference>), TestError> {
    let (recipe, told) = match recipe::BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
        true => {
            let told = conformance::built_in(name);
            (recipe::built_in(name)?, told.ok_or_else(|| TestError::Untold(name.to_owned()))??)
        }
        false if !name.contains(['/', '.']) => {
            return Err(recipe::built_in(name)
                .map_or_else(TestError::from, |_| TestError::Untold(name.to_owned())));
        }
        false => {
            let path = PathBuf::from(match name.strip_suffix(conformance::SUFFIX) {
                Some(stem) => format!("{stem}.toml"),
                None => name.to_owned(),
            });
            let (recipe, beside) = (read(&path)?, conformance::beside(&path));
            if !beside.exists() {
                return Err(TestError::NotBeside(beside));
            }
            (recipe, read(&beside)?)
        }
    };
    let file = Conformance::load(&told)?;
    let differences = conformance::check(&recipe, &file, Some(&told))?;
    Ok((file, differences))
}

fn read(path: &Path) -> Result<Document, TestError> {
    let mut text = String::new();
    let opened = std::fs::File::open(path);
    let read = opened.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| TestError::File { path: path.to_owned(), error })?;
    match u64::try_from(text.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        true => Ok(Document::parse(path, text)?),
        false => Err(TestError::TooLong(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(recipes: &[&str]) -> (Exit, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let recipes: Vec<String> = recipes.iter().map(|&name| name.to_owned()).collect();
        let exit = test(&recipes, &mut out, &mut errors).unwrap();
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn built_in_recipes_conform_and_an_unknown_one_is_told() {
        let (exit, out, errors) = tested(&["qbittorrent", "metabase"]);
        assert_eq!((exit, errors.as_str()), (Exit::Ok, ""), "{out}");
        assert_eq!(out.lines().count(), 2, "{out}");
        let (exit, _, errors) = tested(&["metabse"]);
        assert_eq!(exit, Exit::Failed);
        assert!(errors.contains("did you mean `metabase`"), "{errors}");
    }

    /// Fails when a recipe of one's own passes whatever its file says.
    #[test]
    fn a_file_of_ones_own_is_held_against_its_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = folder.path().join("mine.toml");
        let (_, text) = recipe::BUILT_IN.iter().find(|(name, _)| *name == "metabase").unwrap();
        let (_, told) = conformance::BUILT_IN.iter().find(|(name, _)| *name == "metabase").unwrap();
        std::fs::write(conformance::beside(&recipe), told).unwrap();
        std::fs::write(&recipe, text).unwrap();
        let path = recipe.to_str().unwrap();
        let (exit, out, errors) = tested(&[path]);
        assert_eq!(exit, Exit::Ok, "{out}{errors}");
        std::fs::write(&recipe, text.replace("X-Metabase-Session", "X-Other")).unwrap();
        let told = path.replace(".toml", conformance::SUFFIX);
        let (exit, out, _) = tested(&[&told]);
        assert_eq!(exit, Exit::Failed);
        assert!(out.contains("lacks the header field `x-metabase-session`"), "{out}");
        assert!(out.contains("line 7, session: "), "{out}");
        let (exit, _, errors) = tested(&["./none.toml"]);
        assert_eq!(exit, Exit::Failed);
        assert!(errors.contains("none.toml: it cannot be read"), "{errors}");
    }
}
