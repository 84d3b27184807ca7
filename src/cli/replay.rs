//! `doorward recipes replay`: recorded answers given to a recipe again, offline.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::Exit;
use crate::diagnosis::{Document, Faults};
use crate::recipe::{self, Recipe};
use crate::recording::{self, Recording};

/// The longest recording and the longest recipe that are read, in bytes. Answers to logins are
/// bounded far below.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What stands for parameters that a recipe has no default for: no rule reads them.
const PARAMETER: &str = "recorded";

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("the file cannot be read: {0}")]
    File(#[from] io::Error),
    #[error("the file is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Recording(#[from] recording::Unreadable),
    #[error("{0}; name its file by --recipe-file")]
    Unknown(#[from] recipe::UnknownRecipe),
    #[error("the recipe has faults:\n{0}")]
    Recipe(Faults),
    #[error("it was recorded with the recipe `{recorded}`, and this is `{given}`")]
    OtherRecipe { recorded: String, given: String },
}

/// Replays each file. All of them are looked at, whatever the first ones come to.
pub(super) fn replay(
    files: &[impl AsRef<Path>],
    recipe_file: Option<&Path>,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let mut exit = Exit::Ok;
    for file in files {
        let name = file.as_ref().display();
        match replay_one(file.as_ref(), recipe_file) {
            Err(error) => {
                writeln!(errors, "error: {name}: {error}")?;
                exit = Exit::Failed;
            }
            Ok((recording, differences)) if differences.is_empty() => {
                let (recipe, answers) = (&recording.recipe, recording.answers());
                let word = if answers == 1 { "answer" } else { "answers" };
                writeln!(out, "{name}: same outcome ({recipe}, {answers} {word})")?;
            }
            Ok((_, differences)) => {
                writeln!(out, "{name}: another outcome")?;
                for difference in differences {
                    writeln!(out, "  {difference}")?;
                }
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn replay_one(
    file: &Path,
    recipe_file: Option<&Path>,
) -> Result<(Recording, Vec<recording::Difference>), ReplayError> {
    let recording = Recording::parse(&read(file)?)?;
    let document = match recipe_file {
        Some(path) => Document::parse(path, read(path)?).map_err(ReplayError::Recipe)?,
        None => recipe::built_in(&recording.recipe)?,
    };
    let shape = Recipe::shape(&document).map_err(ReplayError::Recipe)?;
    let required = shape.parameters.into_iter().filter(|(_, required)| *required);
    let parameters: BTreeMap<_, _> =
        required.map(|(name, _)| (name, PARAMETER.to_owned())).collect();
    let recipe = Recipe::load(&document, &parameters).map_err(ReplayError::Recipe)?;
    if recipe.name != recording.recipe {
        let recorded = recording.recipe;
        return Err(ReplayError::OtherRecipe { recorded, given: recipe.name });
    }
    let differences = recording::replay(&recording, &Arc::new(recipe));
    Ok((recording, differences))
}

fn read(path: &Path) -> Result<String, ReplayError> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    match u64::try_from(text.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        true => Ok(text),
        false => Err(ReplayError::TooLong),
    }
}
