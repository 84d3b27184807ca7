//! What is to be written: the answers of the command line and of whoever is asked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Asking, Init};
use crate::recipe::{Asks, FieldKind};
use crate::secret::SecretText;

/// The configuration's file.
const CONFIGURATION: &str = "doorward.toml";

/// All that is to be written.
pub(super) struct Plan {
    pub(super) directory: PathBuf,
    pub(super) recipe: String,
    pub(super) asks: Asks,
    /// The upstream's name.
    pub(super) upstream: String,
    pub(super) url: String,
    pub(super) listen: String,
    /// What is no secret, by name.
    pub(super) texts: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, Secret>,
}

/// Where a secret comes from.
pub(super) enum Secret {
    /// A file that is there.
    File(PathBuf),
    /// What was typed or came by standard input, to be written.
    Text(SecretText),
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error("the recipe `{recipe}` asks for no `{name}`; it knows: {known}")]
    Unknown { recipe: String, name: String, known: String },
    #[error("`{0}` is a secret: give its file by --secret {0}=FILE, or type it when asked")]
    SecretAsText(String),
    #[error("`{0}` is no secret: give it by --set {0}=TEXT")]
    TextAsSecret(String),
    #[error("nobody can be asked here; give also: {0}")]
    Missing(String),
    #[error("standard input can be one secret only")]
    InputTwice,
    #[error("the folder {} cannot be named in a configuration", .0.display())]
    Path(PathBuf),
    #[error("nothing came in answer")]
    Input(#[source] io::Error),
}

impl Plan {
    /// Takes what the command line says, and asks for what it does not.
    pub(super) fn make(
        init: &Init,
        recipe: &str,
        asks: Asks,
        asking: &mut dyn Asking,
    ) -> Result<Self, PlanError> {
        let mut plan = Self {
            directory: init.directory.clone(),
            recipe: recipe.to_owned(),
            upstream: recipe.to_owned(),
            url: init.url.clone().unwrap_or_default(),
            listen: init.listen.clone(),
            texts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            asks,
        };
        plan.take(init, asking)?;
        let missing = plan.missing();
        if missing.is_empty() {
            return Ok(plan);
        }
        if !asking.can() {
            let options: Vec<_> = missing.iter().map(Missing::option).collect();
            return Err(PlanError::Missing(options.join(" ")));
        }
        asking.tell(&plan.asks.title).map_err(PlanError::Input)?;
        for missing in missing {
            plan.ask(missing, asking).map_err(PlanError::Input)?;
        }
        Ok(plan)
    }

    /// What the command line says.
    fn take(&mut self, init: &Init, asking: &mut dyn Asking) -> Result<(), PlanError> {
        for (name, text) in &init.set {
            match self.kind(name)? {
                FieldKind::Secret => return Err(PlanError::SecretAsText(name.clone())),
                _ => _ = self.texts.insert(name.clone(), text.clone()),
            }
        }
        let mut input_is_taken = false;
        for (name, file) in &init.secrets {
            if self.kind(name)? != FieldKind::Secret {
                return Err(PlanError::TextAsSecret(name.clone()));
            }
            let secret = match file.as_str() {
                "-" if input_is_taken => return Err(PlanError::InputTwice),
                "-" => {
                    input_is_taken = true;
                    Secret::Text(without_line_end(asking.rest().map_err(PlanError::Input)?))
                }
                // The configuration may lie in another folder than this one.
                file => Secret::File(absolute(Path::new(file))?),
            };
            self.secrets.insert(name.clone(), secret);
        }
        Ok(())
    }

    fn kind(&self, name: &str) -> Result<FieldKind, PlanError> {
        let field = self.asks.fields.iter().find(|field| field.name == name);
        if let Some(field) = field {
            return Ok(field.kind);
        }
        if self.asks.parameters.iter().any(|parameter| parameter.name == name) {
            return Ok(FieldKind::Plain);
        }
        let fields = self.asks.fields.iter().map(|field| field.name.as_str());
        let parameters = self.asks.parameters.iter().map(|parameter| parameter.name.as_str());
        Err(PlanError::Unknown {
            recipe: self.recipe.clone(),
            name: name.to_owned(),
            known: fields.chain(parameters).collect::<Vec<_>>().join(", "),
        })
    }

    /// What must be there and is not, in the order in which it is asked for.
    fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        if self.url.is_empty() {
            missing.push(Missing::Url);
        }
        for parameter in self.asks.parameters.iter().filter(|one| one.default.is_none()) {
            if !self.texts.contains_key(&parameter.name) {
                missing.push(Missing::Text(parameter.name.clone(), parameter.help.clone()));
            }
        }
        for field in self.asks.fields.iter().filter(|field| !field.optional) {
            let (name, help) = (field.name.clone(), field.help.clone());
            match field.kind {
                FieldKind::Secret if !self.secrets.contains_key(&name) => {
                    missing.push(Missing::Secret(name, help));
                }
                FieldKind::LoginName | FieldKind::Plain if !self.texts.contains_key(&name) => {
                    missing.push(Missing::Text(name, help));
                }
                _ => {}
            }
        }
        missing
    }

    fn ask(&mut self, missing: Missing, asking: &mut dyn Asking) -> io::Result<()> {
        match missing {
            Missing::Url => {
                self.url = asking.ask("url: where the API is, as in https://api.example.com")?
            }
            Missing::Text(name, help) => {
                let text = asking.ask(&format!("{name}: {help}"))?;
                self.texts.insert(name, text);
            }
            Missing::Secret(name, help) => {
                let secret = asking.ask_secret(&format!("{name}: {help}"))?;
                self.secrets.insert(name, Secret::Text(secret));
            }
        }
        Ok(())
    }

    /// The configuration's path.
    pub(super) fn configuration(&self) -> PathBuf {
        match self.directory.as_path() == Path::new(".") {
            true => PathBuf::from(CONFIGURATION),
            false => self.directory.join(CONFIGURATION),
        }
    }

    /// The same, as it is shown.
    pub(super) fn shown(&self) -> String {
        self.configuration().display().to_string()
    }

    /// A command line for this configuration.
    pub(super) fn command(&self, command: &str) -> String {
        let file = self.configuration();
        match file == Path::new(CONFIGURATION) {
            true => format!("doorward {command}"),
            false => format!("doorward {command} -c {}", file.display()),
        }
    }
}

/// Something that must be there.
enum Missing {
    Url,
    Text(String, String),
    Secret(String, String),
}

impl Missing {
    /// The option that gives it.
    fn option(&self) -> String {
        match self {
            Self::Url => "--url URL".to_owned(),
            Self::Text(name, _) => format!("--set {name}=TEXT"),
            Self::Secret(name, _) => format!("--secret {name}=FILE"),
        }
    }
}

/// What `echo` appends is no part of a secret.
fn without_line_end(text: SecretText) -> SecretText {
    match text.expose().strip_suffix('\n') {
        Some(line) => SecretText::new(line.to_owned()),
        None => text,
    }
}

fn absolute(path: &Path) -> Result<PathBuf, PlanError> {
    std::path::absolute(path).map_err(|_| PlanError::Path(path.to_owned()))
}
