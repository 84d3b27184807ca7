//! What the settings need to know of recipes: which there are and what they ask for.

use std::path::PathBuf;

use crate::diagnosis::Faults;

/// Which recipe an upstream uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecipeReference {
    /// One that is built in, by name.
    BuiltIn(String),
    /// One in a file.
    File(PathBuf),
}

/// What a recipe asks an operator for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipeShape {
    /// The fields of an account.
    pub fields: Vec<FieldShape>,
    /// The parameters of an upstream.
    pub parameters: Vec<ParameterShape>,
    /// The fields that one-time codes are made from.
    pub code_fields: Vec<String>,
    /// Whether it asks a login helper.
    pub asks_helper: bool,
}

/// One field of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldShape {
    /// Its key.
    pub name: String,
    /// Whether it must be there.
    pub presence: Presence,
    /// Whether its text may stand in a file.
    pub secrecy: Secrecy,
}

/// One parameter of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterShape {
    /// Its key.
    pub name: String,
    /// Whether it must be there.
    pub presence: Presence,
}

/// Whether something must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not.
    Optional,
}

/// Whether the text of a field may stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// It may.
    Plain,
    /// Only a reference to it may.
    Secret,
}

/// Why there is no shape of a recipe.
#[derive(Clone, Debug)]
pub enum RecipeFault {
    /// No built-in recipe has this name; these there are.
    Unknown(Vec<String>),
    /// The recipe itself has faults.
    Faulty(Faults),
}

/// Says what a recipe asks for.
pub type Recipes<'r> = dyn Fn(&RecipeReference) -> Result<RecipeShape, RecipeFault> + 'r;
