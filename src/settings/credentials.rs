//! Reads the secrets and certificates that the settings refer to; all faults at once, each at the
//! place in the configuration that refers to it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::layers::Layers;
use super::meaning::under;
use super::{
    Authorities, Field, Identity, Loaded, RecipeReference, Sources, Upstream, UpstreamTls, Way,
};
use crate::diagnosis::{Fault, Faults};
use crate::secret::{Environment, Place, SecretError, SecretText, Source, Taking, Totp, Unsealed};

/// The secrets of all accounts and proxies.
#[derive(Clone, Default)]
pub struct Credentials {
    /// By upstream, account and field.
    accounts: BTreeMap<(String, String, String), SecretText>,
    /// By upstream.
    proxies: BTreeMap<String, SecretText>,
}

impl Credentials {
    /// The secret of one field.
    pub fn secret(&self, upstream: &str, account: &str, field: &str) -> Option<&SecretText> {
        self.accounts.get(&(upstream.to_owned(), account.to_owned(), field.to_owned()))
    }

    /// The password of the proxy on the way to an upstream.
    pub fn proxy_password(&self, upstream: &str) -> Option<&SecretText> {
        self.proxies.get(upstream)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.accounts.len() + self.proxies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.accounts.keys()).entries(self.proxies.keys()).finish()
    }
}

impl Loaded {
    /// Where environment variables are looked up.
    pub fn environment(&self) -> &Environment {
        &self.sources.environment
    }

    /// What it was read from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The configuration's files, the folder in which there may be more, and the files of recipes.
    pub fn files(&self) -> Vec<PathBuf> {
        let recipes = self.settings.upstreams.iter().filter_map(|one| match &one.recipe {
            RecipeReference::File(path) => Some(path.clone()),
            RecipeReference::BuiltIn(_) => None,
        });
        self.layers.files().into_iter().chain(recipes).collect()
    }

    /// What is written, as one text: the same in whatever order and in however many files. Secrets
    /// are not in it, only where they are kept.
    pub fn canonical(&self) -> String {
        self.layers.canonical()
    }

    /// A fault at a key of the configuration.
    pub fn key_fault(&self, pointer: &str, message: impl Into<String>) -> Fault {
        self.layers.key_fault(pointer, message)
    }

    /// Where something stands in the configuration: file and line, as far as they are known.
    pub fn place(&self, pointer: &str) -> String {
        let fault = self.layers.key_fault(pointer, "");
        let line = fault.line().map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}", fault.origin().display())
    }

    /// Reads every secret and looks at every certificate that the settings refer to. Blocks on the
    /// file system and on commands.
    ///
    /// # Errors
    /// All secrets and files that cannot be used.
    pub fn read_credentials(&self) -> Result<(Credentials, Vec<String>), Faults> {
        let mut reading = self.reading();
        let credentials = reading.credentials(&self.settings.upstreams);
        reading.certificates(self);
        let Reading { faults, warnings, .. } = reading;
        faults.or((credentials, warnings))
    }

    /// Reads the secrets of one upstream, with those of the accounts that it has here, which may be
    /// fewer than the settings have: what is wrong with others does not matter to whoever tries one
    /// out. Looks at its certificates, too. Blocks on the file system and on commands.
    ///
    /// # Errors
    /// All secrets and files that cannot be used.
    pub fn read_credentials_of(&self, upstream: &Upstream) -> Result<Credentials, Faults> {
        let mut reading = self.reading();
        let credentials = reading.credentials(std::slice::from_ref(upstream));
        reading.certificates_of(upstream);
        reading.faults.or(credentials)
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            layers: &self.layers,
            environment: &self.sources.environment,
            faults: Faults::new(),
            warnings: Vec::new(),
        }
    }
}

struct Reading<'l> {
    layers: &'l Layers,
    environment: &'l Environment,
    faults: Faults,
    warnings: Vec<String>,
}

impl Reading<'_> {
    fn credentials(&mut self, upstreams: &[Upstream]) -> Credentials {
        let mut credentials = Credentials::default();
        for upstream in upstreams {
            let at = under("/upstreams", &upstream.name);
            if let Way::Proxy(proxy) = &upstream.way
                && let Some((_, source)) = &proxy.login
                && let Some(secret) = self.secret(&under(&under(&at, "proxy"), "password"), source)
            {
                credentials.proxies.insert(upstream.name.clone(), secret);
            }
            let accounts = under(&at, "accounts");
            for account in &upstream.accounts {
                for (field, value) in &account.fields {
                    let Field::Secret(source) = value else { continue };
                    let at = under(&under(&accounts, &account.name), field);
                    if let Some(secret) = self.secret(&at, source) {
                        if account.code_fields.contains(field) {
                            self.one_time_codes(&at, &secret);
                        }
                        let name = (upstream.name.clone(), account.name.clone(), field.clone());
                        credentials.accounts.insert(name, secret);
                    }
                }
            }
        }
        credentials
    }

    fn secret(&mut self, at: &str, source: &Source) -> Option<SecretText> {
        match source.read(self.environment) {
            Ok(Unsealed { text, warning }) => {
                self.warnings.extend(warning.map(|warning| warning.to_string()));
                Some(text)
            }
            Err(error) => {
                self.refuse(at, &error);
                None
            }
        }
    }

    fn one_time_codes(&mut self, at: &str, secret: &SecretText) {
        let Err(fault) = Totp::parse(secret.expose()) else { return };
        let fault = self.layers.fault(at, format!("no one-time codes can be made: {fault}"));
        self.faults.push(fault.help(
            "use the text or the `otpauth://totp/` URI that the upstream shows for an authenticator app",
        ));
    }

    fn refuse(&mut self, at: &str, error: &SecretError) {
        let fault = self.layers.fault(at, error.to_string());
        self.faults.push(error.remedy().into_iter().fold(fault, Fault::help));
    }

    fn certificates(&mut self, loaded: &Loaded) {
        for listener in &loaded.settings.listeners {
            let at = under(&under("/listeners", &listener.name), "tls");
            let Some(tls) = &listener.tls else { continue };
            self.pair(&at, &tls.certificate, &tls.key);
        }
        for upstream in &loaded.settings.upstreams {
            self.certificates_of(upstream);
        }
    }

    fn certificates_of(&mut self, upstream: &Upstream) {
        let at = under("/upstreams", &upstream.name);
        self.upstream_tls(&under(&at, "tls"), &upstream.tls);
        if let Way::Proxy(proxy) = &upstream.way {
            self.upstream_tls(&under(&under(&at, "proxy"), "tls"), &proxy.tls);
        }
    }

    fn upstream_tls(&mut self, at: &str, tls: &UpstreamTls) {
        match &tls.authorities {
            Authorities::Machine => {}
            Authorities::MachineAnd(path) => _ = self.chain(&under(at, "extra_ca_file"), path),
            Authorities::Only(path) => _ = self.chain(&under(at, "ca_file"), path),
        }
        if let Some(Identity { certificate, key }) = &tls.identity {
            self.pair(at, certificate, key);
        }
    }

    /// A certificate and its key, which belong together.
    fn pair(&mut self, at: &str, certificate: &Path, key: &Path) {
        let chain = self.chain(&under(at, "certificate"), certificate);
        let key_at = under(at, "key");
        let (Some(chain), Some(parsed)) = (chain, self.private_key(&key_at, key)) else { return };
        let provider = aws_lc_rs::default_provider();
        if let Err(error) = CertifiedKey::from_der(chain, parsed, &provider) {
            let message = match error {
                rustls::Error::InconsistentKeys(_) => format!(
                    "the key in `{}` is not that of the first certificate in `{}`",
                    key.display(),
                    certificate.display()
                ),
                error => format!("the key in `{}` cannot be used: {error}", key.display()),
            };
            self.faults.push(self.layers.fault(&key_at, message));
        }
    }

    fn chain(&mut self, at: &str, path: &Path) -> Option<Vec<CertificateDer<'static>>> {
        let certificates = match std::fs::read(path) {
            Ok(pem) => CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>(),
            Err(reason) => {
                self.unreadable(at, path, &reason);
                return None;
            }
        };
        let message = match certificates {
            Ok(certificates) if !certificates.is_empty() => return Some(certificates),
            Ok(_) => format!("there is no certificate in `{}`", path.display()),
            Err(_) => format!("`{}` is not a PEM file of certificates", path.display()),
        };
        self.faults.push(self.layers.fault(at, message));
        None
    }

    fn private_key(&mut self, at: &str, path: &Path) -> Option<PrivateKeyDer<'static>> {
        // A key file ends with a newline, and is as secret as a password.
        let source = Source { place: Place::File(path.to_owned()), taking: Taking::Verbatim };
        let pem = self.secret(at, &source)?;
        let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes());
        if key.is_err() {
            let message = format!("there is no private key in `{}`", path.display());
            self.faults.push(self.layers.fault(at, message));
        }
        key.ok()
    }

    fn unreadable(&mut self, at: &str, path: &Path, reason: &std::io::Error) {
        let message = match reason.kind() {
            std::io::ErrorKind::NotFound => format!("there is no file `{}`", path.display()),
            _ => format!("`{}` cannot be read: {reason}", path.display()),
        };
        self.faults.push(self.layers.fault(at, message));
    }
}
