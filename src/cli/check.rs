//! `doorward check`: judges the whole configuration with its secrets, and starts nothing.

use std::error::Error;
use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;

use super::key::list::{Standing, standing};
use super::{ConfigFiles, Exit};
use crate::app::{NOT_KEPT, TOKENS_END, descriptor_advice};
use crate::diagnosis::{Fault, Faults, Paint};
use crate::secret::Environment;
use crate::settings::{Recipes, Settings};

/// Judge the configuration and its secrets, and print every fault with its place
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigFiles,
    /// Print the result as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Outcome {
    ok: bool,
    faults: Vec<Told>,
    warnings: Vec<String>,
    /// What an operator may want to know, and need not act on.
    notes: Vec<&'static str>,
}

/// A configuration that is good.
struct Judged {
    summary: String,
    warnings: Vec<String>,
    notes: Vec<&'static str>,
}

/// One fault, for machines.
#[derive(Serialize)]
struct Told {
    /// The file, or what stands for one.
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    help: Vec<String>,
}

impl Check {
    /// The one of these files, for people.
    pub(super) fn of(config: ConfigFiles) -> Self {
        Self { config, json: false }
    }

    /// Prints one line to `out` where all is well, all faults to `errors` where not. With `--json`
    /// both go to `out` as one object.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        recipes: &Recipes<'_>,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let judged = self.judge(environment, recipes);
        if self.json {
            return print_json(judged, out);
        }
        match judged {
            Ok(Judged { summary, warnings, notes }) => {
                for warning in warnings {
                    writeln!(errors, "warning: {warning}")?;
                }
                writeln!(out, "{summary}")?;
                for note in notes {
                    writeln!(out, "note: {note}")?;
                }
                Ok(Exit::Ok)
            }
            Err(faults) => {
                write!(errors, "{}", faults.report(paint))?;
                Ok(Exit::Config)
            }
        }
    }

    fn judge(&self, environment: Environment, recipes: &Recipes<'_>) -> Result<Judged, Faults> {
        let loaded = Settings::load(&self.config.sources(environment), recipes)?;
        let (credentials, exposed) = loaded.read_credentials()?;
        let state_key = loaded.read_state_key()?;
        let audit_key = loaded.read_audit_key()?;
        let token_key = loaded.read_token_key()?;
        let admin_token = loaded.read_admin_token()?;
        let tokens_end = token_key.is_none() && state_key.is_none();
        let keys = [state_key, audit_key, token_key, admin_token].into_iter().flatten().count();
        let secrets = credentials.len() + keys;
        let summary = summary(&loaded.settings, secrets);
        let not_kept = loaded.settings.state.is_none().then_some(NOT_KEPT);
        let has_clients = !loaded.settings.clients.is_empty();
        let tokens_end = (has_clients && tokens_end).then_some(TOKENS_END);
        let notes = not_kept.into_iter().chain(tokens_end).collect();
        let revoked = revoked_keys(&loaded.settings)?;
        let descriptors = descriptor_advice(&loaded.settings).into_iter().collect();
        let warnings = [loaded.warnings, exposed, revoked, descriptors].concat();
        Ok(Judged { summary, warnings, notes })
    }
}

/// A warning for each key of the configuration that is revoked.
fn revoked_keys(settings: &Settings) -> Result<Vec<String>, Faults> {
    let keys = standing(settings, SystemTime::now()).map_err(|error| {
        let file = settings.revoked_file().unwrap_or_default();
        let why = error.source().map(|why| format!(": {why}")).unwrap_or_default();
        let mut faults = Faults::new();
        faults.push(Fault::new(file, format!("{error}{why}")));
        faults
    })?;
    let revoked = keys.iter().filter(|key| key.revoked_at.is_some());
    let warnings = revoked.map(|Standing { client, beginning, .. }| {
        format!("client `{client}`: the key {beginning} is revoked; take it out")
    });
    Ok(warnings.collect())
}

fn print_json(judged: Result<Judged, Faults>, out: &mut impl Write) -> io::Result<Exit> {
    let (outcome, exit) = match judged {
        Ok(Judged { warnings, notes, .. }) => {
            (Outcome { ok: true, faults: Vec::new(), warnings, notes }, Exit::Ok)
        }
        Err(faults) => {
            let faults = faults.sorted().into_iter().map(told).collect();
            (Outcome { ok: false, faults, warnings: Vec::new(), notes: Vec::new() }, Exit::Config)
        }
    };
    writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
    Ok(exit)
}

fn told(fault: &Fault) -> Told {
    Told {
        file: fault.origin().display().to_string(),
        line: fault.line(),
        column: fault.column(),
        message: fault.message().to_owned(),
        help: fault.helps().to_vec(),
    }
}

fn summary(settings: &Settings, secrets: usize) -> String {
    let counted = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    };
    let accounts = settings.upstreams.iter().map(|upstream| upstream.accounts.len()).sum();
    let parts = [
        counted(settings.listeners.len(), "listener"),
        counted(settings.clients.len(), "client"),
        counted(settings.routes.len(), "route"),
        counted(settings.upstreams.len(), "upstream"),
        counted(accounts, "account"),
        counted(secrets, "secret"),
    ];
    format!("the configuration is good: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::settings::{RecipeFault, RecipeReference, RecipeShape};

    const GOOD: &str = r#"
[listeners.main]
address = "127.0.0.1:0"
access = "open"
[upstreams.cms]
url = "https://a.example"
recipe = "any"
[upstreams.cms.accounts.one]
password = { env = "PW" }
[[routes]]
upstream = "cms"
"#;

    fn recipes(_: &RecipeReference) -> Result<RecipeShape, RecipeFault> {
        let password = crate::settings::FieldShape {
            name: "password".to_owned(),
            presence: crate::settings::Presence::Required,
            secrecy: crate::settings::Secrecy::Secret,
        };
        Ok(RecipeShape { fields: vec![password], ..RecipeShape::default() })
    }

    fn check(file: PathBuf, json: bool, secret: &str) -> (Exit, String, String) {
        let check = Check { config: ConfigFiles { files: vec![file] }, json };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let environment = Environment::given([("PW", secret)]);
        let exit = check.run(environment, &recipes, Paint::Plain, &mut out, &mut errors).unwrap();
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    fn written(text: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("doorward.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_good_configuration_is_one_line() {
        let (_folder, path) = written(GOOD);
        let (exit, out, errors) = check(path.clone(), false, "hunter2");
        assert_eq!((exit, errors.as_str()), (Exit::Ok, ""));
        assert_eq!(
            out,
            format!(
                "the configuration is good: 1 listener, 0 clients, 1 route, 1 upstream, 1 account, \
                 1 secret\nnote: {NOT_KEPT}\n"
            )
        );
        let (exit, out, _) = check(path, true, "hunter2");
        assert_eq!(
            (exit, out.trim_end()),
            (
                Exit::Ok,
                format!(r#"{{"ok":true,"faults":[],"warnings":[],"notes":["{NOT_KEPT}"]}}"#)
                    .as_str()
            )
        );
    }

    #[test]
    fn faults_go_to_standard_error_or_as_json_to_standard_output() {
        let (_folder, path) = written(&GOOD.replace("access", "acces"));
        let (exit, out, errors) = check(path.clone(), false, "hunter2");
        assert_eq!((exit, out.as_str()), (Exit::Config, ""));
        assert!(errors.contains("= help: did you mean `access`?"), "{errors}");
        assert!(errors.ends_with("doorward.toml; nothing was started\n"), "{errors}");
        let (exit, out, errors) = check(path.clone(), true, "hunter2");
        assert_eq!((exit, errors.as_str()), (Exit::Config, ""));
        let outcome: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(outcome["ok"], false);
        let expected = serde_json::json!([{
            "file": path.display().to_string(), "line": 4, "column": 1,
            "message": "unknown key `acces` in `listeners.main`",
            "help": ["did you mean `access`?"],
        }]);
        assert_eq!(outcome["faults"], expected);
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_a_fault_at_its_reference() {
        let (_folder, path) = written(GOOD);
        let (exit, _, errors) = check(path, false, "hunter2\n");
        assert_eq!(exit, Exit::Config);
        assert!(errors.contains("doorward.toml:9:12"), "{errors}");
        assert!(errors.contains("ends with a newline (8 characters with it)"), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}
