//! `doorward recipes`: what is built in, and how it is written.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Exit, draft};
use crate::recipe::{self, FieldKind, Recipe};

/// List and show the built-in recipes
#[derive(Clone, Debug, clap::Args)]
pub struct Recipes {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List the built-in recipes with what each asks for
    List {
        /// Print them as a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Draft a recipe from a login, given as a curl command or as a HAR file; no value of it gets
    /// into the draft
    New {
        /// What the recipe is to be called
        name: String,
        #[command(flatten)]
        from: draft::Login,
    },
    /// Give recorded logins to their recipe again, offline, and say what has come out differently
    Replay {
        /// Recordings that `try --record` has written
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The recipe's file, where it is not built in
        #[arg(long, value_name = "FILE")]
        recipe_file: Option<PathBuf>,
    },
    /// Hold recipes against what their conformance files say of their upstreams, offline
    Test {
        /// Recipe files, each with NAME.conformance.toml beside it, or names of built-in recipes;
        /// without any, all that are built in
        recipes: Vec<String>,
    },
    /// Print one recipe as it is written, to learn from or to copy
    Show {
        /// The recipe's name
        name: String,
    },
}

impl Recipes {
    /// Prints to `out`, an unknown name to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(&self, out: &mut impl Write, errors: &mut impl Write) -> io::Result<Exit> {
        match &self.command {
            Command::List { json: false } => list(out),
            Command::List { json: true } => list_json(out),
            Command::New { name, from } => draft::new(name, from, out, errors),
            Command::Show { name } => show(name, out, errors),
            Command::Test { recipes } => super::conform::test(recipes, out, errors),
            Command::Replay { files, recipe_file } => {
                super::replay::replay(files, recipe_file.as_deref(), out, errors)
            }
        }
    }
}

fn list(out: &mut impl Write) -> io::Result<Exit> {
    for recipe in built_in() {
        writeln!(out, "{:<14} {}", recipe.name, recipe.title)?;
        writeln!(out, "{:<14}   account: {}", "", names(&recipe.fields))?;
        if !recipe.parameters.is_empty() {
            writeln!(out, "{:<14}   parameters: {}", "", recipe.parameters.join(", "))?;
        }
    }
    Ok(Exit::Ok)
}

fn list_json(out: &mut impl Write) -> io::Result<Exit> {
    let recipes: Vec<_> = built_in()
        .map(|recipe| {
            serde_json::json!({
                "name": recipe.name,
                "title": recipe.title,
                "fields": recipe.fields.iter().map(|field| serde_json::json!({
                    "name": field.0, "secret": field.1, "optional": field.2,
                })).collect::<Vec<_>>(),
                "parameters": recipe.parameters,
            })
        })
        .collect();
    writeln!(out, "{}", serde_json::Value::Array(recipes))?;
    Ok(Exit::Ok)
}

fn show(name: &str, out: &mut impl Write, errors: &mut impl Write) -> io::Result<Exit> {
    match recipe::built_in(name) {
        Ok(_) => {
            let text = recipe::BUILT_IN.iter().find(|(known, _)| *known == name);
            write!(out, "{}", text.map(|(_, text)| *text).unwrap_or_default())?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(errors, "error: {error}")?;
            Ok(Exit::Usage)
        }
    }
}

/// What the list shows of a recipe.
struct Entry {
    name: String,
    title: String,
    /// Name, whether it is a secret, whether it may be left out.
    fields: Vec<(String, bool, bool)>,
    parameters: Vec<String>,
}

fn built_in() -> impl Iterator<Item = Entry> {
    recipe::BUILT_IN.iter().filter_map(|(name, _)| {
        let document = recipe::built_in(name).ok()?;
        let recipe = Recipe::load(&document, &std::collections::BTreeMap::new()).ok()?;
        let shape = Recipe::shape(&document).ok()?;
        let fields = shape.fields.into_iter();
        Some(Entry {
            name: recipe.name,
            title: recipe.title,
            fields: fields
                .map(|(name, field)| (name, field.kind == FieldKind::Secret, field.optional))
                .collect(),
            parameters: shape.parameters.into_iter().map(|(name, _)| name).collect(),
        })
    })
}

fn names(fields: &[(String, bool, bool)]) -> String {
    let named = fields.iter().map(|(name, secret, optional)| match (secret, optional) {
        (true, false) => format!("{name} (secret)"),
        (true, true) => format!("{name} (secret, optional)"),
        (false, true) => format!("{name} (optional)"),
        (false, false) => name.clone(),
    });
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(command: Command) -> (Exit, String, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let exit = Recipes { command }.run(&mut out, &mut errors).unwrap();
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn every_built_in_recipe_is_listed_with_what_it_asks_for() {
        let (exit, list, _) = printed(Command::List { json: false });
        assert_eq!(exit, Exit::Ok);
        for (name, _) in recipe::BUILT_IN {
            assert!(list.contains(name), "{list}");
        }
        assert!(list.contains("password (secret)"), "{list}");
        let (_, list, _) = printed(Command::List { json: true });
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list.as_array().unwrap().len(), recipe::BUILT_IN.len());
    }

    #[test]
    fn a_recipe_is_shown_as_it_is_written() {
        for (name, text) in recipe::BUILT_IN {
            let (_, shown, _) = printed(Command::Show { name: (*name).to_owned() });
            assert_eq!(shown, *text);
        }
        let (known, _) = recipe::BUILT_IN[0];
        let (exit, _, errors) = printed(Command::Show { name: known[1..].to_owned() });
        assert_eq!(exit, Exit::Usage);
        assert!(errors.contains(&format!("did you mean `{known}`")), "{errors}");
    }
}
