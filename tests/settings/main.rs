//! Configuration as an operator meets it: files and variables in, settings or all faults out.

// What is outside `#[test]` functions here is still only tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod faults;
mod identities;
mod issuers;
mod layers;
mod observed;
mod secrets;
mod shown;
mod ways;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use doorward::diagnosis::{Fault, Faults};
use doorward::secret::Environment;
use doorward::settings::{
    FieldShape, Loaded, ParameterShape, Presence, RecipeFault, RecipeReference, RecipeShape,
    Secrecy, Settings, Sources,
};
use tempfile::TempDir;

const GOOD: &str = r#"
[listeners.main]
address = "127.0.0.1:8080"
access = "open"

[upstreams.cms]
url = "https://api.example.com/base/"
recipe = "contentstack"

[upstreams.cms.accounts.editor]
username = "0012345"
password = { file = "secrets/password" }

[[routes]]
upstream = "cms"
"#;

/// What the built-in recipes ask for.
fn recipes(reference: &RecipeReference) -> Result<RecipeShape, RecipeFault> {
    let field =
        |name: &str, presence, secrecy| FieldShape { name: name.to_owned(), presence, secrecy };
    let parameter =
        |name: &str| ParameterShape { name: name.to_owned(), presence: Presence::Optional };
    let mut shape = RecipeShape {
        fields: vec![
            field("username", Presence::Required, Secrecy::Plain),
            field("password", Presence::Required, Secrecy::Secret),
        ],
        ..RecipeShape::default()
    };
    match reference {
        RecipeReference::BuiltIn(name) if name == "contentstack" => {
            shape.parameters.push(parameter("prefix"));
            shape.fields.push(field("totp_secret", Presence::Optional, Secrecy::Secret));
            shape.code_fields.push("totp_secret".to_owned());
        }
        RecipeReference::BuiltIn(name) if name == "thoughtspot" => {}
        RecipeReference::BuiltIn(name) if name == "asking" => shape.asks_helper = true,
        RecipeReference::BuiltIn(name) if name == "mfiles" => {
            shape.fields.push(field("domain", Presence::Optional, Secrecy::Plain));
            shape.parameters.push(parameter("vault"));
        }
        _ => {
            let known = ["contentstack", "mfiles", "thoughtspot"];
            return Err(RecipeFault::Unknown(known.map(str::to_owned).to_vec()));
        }
    }
    Ok(shape)
}

/// A folder with configuration files.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn secret(&self, content: &[u8]) {
        let path = self.path("secrets/password");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, files: &[&str], environment: Environment) -> Result<Loaded, Faults> {
        let files = files.iter().map(|name| self.path(name)).collect();
        Settings::load(&Sources { files, environment }, &recipes)
    }

    fn loaded(&self, files: &[&str], environment: Environment) -> Loaded {
        self.load(files, environment).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn faults(&self, files: &[&str], environment: Environment) -> Faults {
        self.load(files, environment).err().unwrap_or_default()
    }

    /// Place, message and helps of each fault, one a line, with this folder's name left out.
    fn lines(&self, faults: &Faults) -> Vec<String> {
        let place = |part: Option<usize>| part.map(|part| format!(":{part}")).unwrap_or_default();
        let line = |fault: &&Fault| {
            let (line, column) = (place(fault.line()), place(fault.column()));
            let origin = fault.origin().display();
            let helps: String = fault.helps().iter().map(|help| format!("; {help}")).collect();
            format!("{origin}{line}{column} {}{helps}", fault.message())
                .replace(&format!("{}/", self.0.path().display()), "")
        };
        faults.sorted().iter().map(line).collect()
    }
}

fn nothing() -> Environment {
    Environment::given([])
}

fn faults_of(text: &str) -> Vec<String> {
    let folder = Folder::with(&[("doorward.toml", text)]);
    folder.lines(&folder.faults(&["doorward.toml"], nothing()))
}

/// The good configuration with one text in place of another.
fn good_with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}
