//! What is in force, as operators look at it. It is made once for each configuration.

use std::path::PathBuf;
use std::sync::Arc;

use super::time;
use crate::access::identity::UnixOwner;
use crate::access::key::KnownKey;
use crate::admin::answers::{self, Grant, Setting, SettingOrigin};
use crate::app::running::Running;
use crate::limit::Limits;
use crate::session::{self, ClientNumber};
use crate::settings::{self, RecipeReference, ValueOrigin};

/// What is in force, as operators look at it.
#[derive(Debug)]
pub(in crate::app) struct Current {
    /// Upstreams with their accounts.
    pub(super) upstreams: Vec<(Arc<session::Upstream>, Upstream)>,
    /// How much may be asked.
    pub(super) admission: Arc<Limits>,
    pub(super) ready_requires_login: bool,
    pub(super) configuration: answers::Configuration,
    pub(super) listeners: Vec<answers::Listener>,
    pub(super) settings: Vec<Setting>,
    pub(super) clients: Vec<Client>,
    pub(super) routes: usize,
    /// Where revoked keys are written.
    pub(super) revoked_file: Option<PathBuf>,
}

/// As much of a configuration's digest as is shown.
const SHA256_CHARACTERS: usize = 12;

/// What is said of an upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) url: String,
    pub(super) recipe: String,
}

/// What is said of a client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    /// Its number.
    pub(super) number: Option<ClientNumber>,
    pub(super) keys: Vec<KnownKey>,
    certificates: Vec<String>,
    unix: Vec<String>,
    issuers: Vec<String>,
    grants: Vec<Grant>,
}

impl Client {
    /// The row, without what changes.
    pub(super) fn row(&self) -> answers::Client {
        answers::Client {
            name: self.name.clone(),
            keys: Vec::new(),
            certificates: self.certificates.clone(),
            unix: self.unix.clone(),
            issuers: self.issuers.clone(),
            grants: self.grants.clone(),
            limit: None,
            last_used_at: None,
            requests: 0,
        }
    }
}

impl Current {
    /// What runs now.
    pub(in crate::app) fn of(running: &Running) -> Self {
        let loaded = &running.loaded;
        let settings = &loaded.settings;
        let asks = |name: &str| {
            let listener = settings.listeners.iter().find(|listener| listener.name == name);
            listener.is_none_or(|one| one.access == settings::Access::Clients)
        };
        let in_force = &running.in_force;
        let described = settings.upstreams.iter().map(upstream);
        let client = |written| client(written, running);
        Self {
            upstreams: in_force.upstreams.iter().map(Arc::clone).zip(described).collect(),
            admission: Arc::clone(&in_force.admission),
            ready_requires_login: settings.health.is_some_and(|one| one.ready_requires_login),
            configuration: answers::Configuration {
                files: loaded.file_names(),
                sha256: running.sha256.chars().take(SHA256_CHARACTERS).collect(),
                loaded_at: time(running.process.clock.wall()),
                // Known to whoever reloads.
                last_reload: None,
            },
            listeners: running
                .listeners
                .iter()
                .map(|opened| &opened.listening)
                .map(|listening| answers::Listener {
                    name: listening.name.clone(),
                    url: listening.url(),
                    asks_for_clients: asks(&listening.name),
                })
                .collect(),
            settings: loaded.effective().into_iter().map(setting).collect(),
            clients: settings.clients.iter().map(client).collect(),
            routes: settings.routes.len(),
            revoked_file: settings.revoked_file(),
        }
    }
}

fn setting(one: settings::Effective) -> Setting {
    let origin = match one.origin {
        ValueOrigin::File { path, line } => SettingOrigin::File { path, line },
        ValueOrigin::Variable(name) => SettingOrigin::Variable { name },
        ValueOrigin::Default => SettingOrigin::Default,
    };
    Setting { key: one.key, value: one.value, origin }
}

fn upstream(written: &settings::Upstream) -> Upstream {
    Upstream {
        url: format!("{}{}", written.origin, written.base_path),
        recipe: match &written.recipe {
            RecipeReference::BuiltIn(name) => name.clone(),
            RecipeReference::File(path) => path.display().to_string(),
        },
    }
}

fn client(written: &settings::Client, running: &Running) -> Client {
    Client {
        name: written.id.to_string(),
        number: running.client_number(written.id.as_str()),
        keys: written.keys.clone(),
        certificates: written.certificates.iter().map(ToString::to_string).collect(),
        unix: written
            .unix
            .iter()
            .map(|owner| match owner {
                UnixOwner::User(number) => format!("user {number}"),
                UnixOwner::Group(number) => format!("group {number}"),
            })
            .collect(),
        issuers: written.tokens.iter().map(|tokens| tokens.issuer.clone()).collect(),
        grants: written
            .grants
            .iter()
            .map(|grant| Grant {
                upstreams: grant.upstreams.clone(),
                accounts: grant.accounts.clone(),
                methods: grant.methods.clone(),
                paths: grant.paths.clone(),
            })
            .collect(),
    }
}
