//! Accounts: what a login needs, with every secret by reference.

use std::collections::BTreeMap;
use std::time::Duration;

use super::meaning::{Meaning, under};
use super::recipes::{FieldShape, Presence, RecipeShape, Secrecy};
use super::written::{self, CommandSource, CredentialSource, EnvironmentSource, FileSource};
use super::{Account, Field};
use crate::diagnosis::suggestion;
use crate::secret::{Command, Place, Source, Taking};

/// A command that is run more often would keep a password manager, and the machine, busy.
const REFRESH_MIN: Duration = Duration::from_secs(10);

type WrittenAccount = BTreeMap<String, written::Field>;

impl Meaning<'_> {
    pub(super) fn accounts(
        &mut self,
        upstream_at: &str,
        written: BTreeMap<String, WrittenAccount>,
        shape: Option<&RecipeShape>,
    ) -> Vec<Account> {
        let at = under(upstream_at, "accounts");
        if written.is_empty() && !self.layers.broken(upstream_at) {
            let fault = self.layers.key_fault(&at, "this upstream has no account to log in with");
            let keys = crate::diagnosis::Pointer::from(at.as_str());
            self.faults.push(fault.help(format!("add `[{keys}.NAME]`")));
        }
        let mut accounts = Vec::new();
        for (name, fields) in written {
            let at = under(&at, &name);
            self.name(&at, &name);
            if let Some(shape) = shape {
                self.fields(&at, &fields, shape);
            }
            let fields = fields
                .into_iter()
                .map(|(key, field)| {
                    let field = self.field(&under(&at, &key), field);
                    (key, field)
                })
                .collect();
            let code_fields = shape.map(|shape| shape.code_fields.clone()).unwrap_or_default();
            accounts.push(Account { name, fields, code_fields });
        }
        accounts
    }

    /// Judges the fields of one account by what its recipe asks for.
    fn fields(&mut self, at: &str, written: &WrittenAccount, shape: &RecipeShape) {
        let known: Vec<&str> = shape.fields.iter().map(|field| field.name.as_str()).collect();
        let mut meant = Vec::new();
        for (key, field) in written {
            let at = under(at, key);
            match shape.fields.iter().find(|shape| shape.name == *key) {
                Some(FieldShape { secrecy: Secrecy::Secret, .. }) => self.literal(&at, key, field),
                Some(_) => {}
                None => {
                    let nearest = suggestion(key, &known);
                    // What is not known may be a secret.
                    let message = format!("the recipe has no account field `{key}`");
                    let fault = self.layers.secret_key_fault(&at, message);
                    self.faults.push(match nearest.clone() {
                        None => fault.help(format!("its fields are {}", known.join(", "))),
                        nearest => fault.did_you_mean(nearest),
                    });
                    meant.extend(nearest);
                }
            }
        }
        let required = shape.fields.iter().filter(|field| field.presence == Presence::Required);
        for field in required.filter(|field| !written.contains_key(&field.name)) {
            if meant.contains(&field.name) || self.layers.broken(at) {
                continue;
            }
            let message = format!("the recipe needs the account field `{}`", field.name);
            let fault = self.layers.key_fault(at, message);
            self.faults.push(match field.secrecy {
                Secrecy::Secret => fault.help(reference_help(&field.name)),
                Secrecy::Plain => fault.help(format!("{} = \"...\"", field.name)),
            });
        }
    }

    pub(super) fn literal(&mut self, at: &str, key: &str, field: &written::Field) {
        if let written::Field::Text(_) = field {
            let message = format!("`{key}` is a secret and must not stand in the configuration");
            let fault = self.layers.secret_fault(at, message);
            self.faults.push(fault.help(reference_help(key)));
        }
    }

    fn command(&mut self, at: &str, written: CommandSource) -> Command {
        let timeout = self.duration(&under(at, "timeout"), &written.timeout);
        let command = self.program(&under(at, "command"), written.command, timeout);
        let refresh = written.refresh.map(|text| {
            let at = under(at, "refresh");
            let refresh = self.duration(&at, &text);
            if !refresh.is_zero() && refresh < REFRESH_MIN {
                self.fault(&at, format!("a command is run again after {REFRESH_MIN:?} at least"));
            }
            refresh
        });
        Command { refresh, ..command }
    }

    /// A program with its arguments.
    pub(super) fn program(&mut self, at: &str, words: Vec<String>, timeout: Duration) -> Command {
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        let program = match program.contains('/') || program.is_empty() {
            true => self.path(at, &program).into_os_string(),
            false => program.into(),
        };
        Command { program, arguments: words.collect(), timeout, refresh: None }
    }

    pub(super) fn field(&mut self, at: &str, written: written::Field) -> Field {
        let (place, trim, verbatim) = match written {
            written::Field::Text(text) => return Field::Text(text),
            written::Field::File(FileSource { file, trim, verbatim }) => {
                (Place::File(self.path(&under(at, "file"), &file)), trim, verbatim)
            }
            written::Field::Environment(EnvironmentSource { env, trim, verbatim }) => {
                (Place::Environment(env), trim, verbatim)
            }
            written::Field::Credential(CredentialSource { credential, trim, verbatim }) => {
                (Place::Credential(credential), trim, verbatim)
            }
            written::Field::Command(written) => {
                let (trim, verbatim) = (written.trim, written.verbatim);
                (Place::Command(self.command(at, written)), trim, verbatim)
            }
        };
        let taking = match (trim, verbatim) {
            (false, false) => Taking::Strict,
            (true, false) => Taking::Trimmed,
            (false, true) => Taking::Verbatim,
            (true, true) => {
                let at = under(at, "verbatim");
                self.fault(&at, "only one of `trim` and `verbatim` can be true");
                Taking::Strict
            }
        };
        Field::Secret(Source { place, taking })
    }
}

fn reference_help(key: &str) -> String {
    format!(
        "keep it in a file and write `{key} = {{ file = \"secrets/{key}\" }}`, or use `env`, `credential` or `command`"
    )
}
