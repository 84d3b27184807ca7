//! From what is written to what is meant. Each room of the settings has its part; this is what
//! they share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;

use super::layers::{Layers, Sources};
use super::recipes::Recipes;
use super::written::{DurationText, Written};
use super::{Limits, Loaded, Log, Settings, Timeouts};
use crate::diagnosis::{Fault, Faults, Pointer};

/// The longest wait that makes sense anywhere; more is a slip of the unit.
const DURATION_MAX: SignedDuration = SignedDuration::from_hours(24);

/// The longest name of a listener, upstream or account, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What the parts share while they judge.
pub(super) struct Meaning<'l> {
    pub(super) layers: &'l Layers,
    pub(super) recipes: &'l Recipes<'l>,
    pub(super) faults: Faults,
    pub(super) warnings: Vec<String>,
}

pub(super) fn load(sources: &Sources, recipes: &Recipes<'_>) -> Result<Loaded, Faults> {
    let mut faults = Faults::new();
    let layers = match Layers::read(sources, &mut faults) {
        Some(layers) => layers,
        None => return Err(faults),
    };
    let Some(written) = layers.written() else {
        if faults.is_empty() {
            let message = "the configuration does not have the expected structure";
            faults.push(Fault::new("configuration", message));
        }
        return Err(faults);
    };
    let mut meaning = Meaning { layers: &layers, recipes, faults, warnings: Vec::new() };
    let settings = meaning.settings(written);
    let Meaning { faults, warnings, .. } = meaning;
    faults.or(())?;
    Ok(Loaded { settings, warnings, sources: sources.clone(), layers })
}

impl Meaning<'_> {
    fn settings(&mut self, written: Written) -> Settings {
        self.placeholders(&Pointer::root(), self.layers.merged());
        let upstreams = self.upstreams(written.upstreams);
        let access = self.access(written.access);
        let faults_before = self.faults.len();
        let issuers = self.issuers(written.issuers);
        let clients = self.clients(written.clients, &upstreams, &issuers);
        let are_clients_sure = self.faults.len() == faults_before;
        let listeners = self.listeners(written.listeners);
        if are_clients_sure {
            self.let_somebody_in(&listeners, &clients);
        }
        let routes = self.routes(written.routes, &upstreams);
        self.sessions_of_clients(&routes, &listeners);
        let upstreams: Vec<_> = upstreams.into_values().flatten().collect();
        let admin = self.admin(written.admin);
        let health = written.health.and_then(|health| self.health(health));
        self.keep_apart(&admin, health.as_ref(), &listeners, &upstreams);
        Settings {
            listeners,
            clients,
            access,
            issuers,
            upstreams,
            routes,
            limits: limits(written.limits),
            timeouts: self.timeouts(&written.timeouts),
            state: written.state.and_then(|state| self.state(state)),
            audit: written.audit.and_then(|audit| self.audit(audit)),
            access_log: written.access_log.and_then(|log| self.access_log(log)),
            traces: written.traces.and_then(|traces| self.traces(traces)),
            admin,
            health,
            cores: written.runtime.cores,
            spill_dir: self.spill_dir(written.runtime.spill_dir.as_deref()),
            core_dumps: written.runtime.core_dumps,
            log: Log { format: written.log.format, level: written.log.level },
            watch: written.reload.watch,
        }
    }

    fn timeouts(&mut self, written: &super::written::Timeouts) -> Timeouts {
        let mut wait = |name: &str, text| self.duration(&format!("/timeouts/{name}"), text);
        let waits = Timeouts {
            head: wait("head", &written.head),
            request: wait("request", &written.request),
            login: wait("login", &written.login),
            login_distance: Duration::ZERO,
            shutdown_delay: Duration::ZERO,
            drain: wait("drain", &written.drain),
            logout: wait("logout", &written.logout),
            body: wait("body", &written.body),
            write: wait("write", &written.write),
            idle: wait("idle", &written.idle),
            session_idle: wait("session_idle", &written.session_idle),
            tunnel_idle: wait("tunnel_idle", &written.tunnel_idle),
            client_token: wait("client_token", &written.client_token),
        };
        let login_distance = self.pause("/timeouts/login_distance", &written.login_distance);
        let shutdown_delay = self.pause("/timeouts/shutdown_delay", &written.shutdown_delay);
        Timeouts { login_distance, shutdown_delay, ..waits }
    }

    fn spill_dir(&mut self, text: Option<&str>) -> Option<PathBuf> {
        let path = self.path("/runtime/spill_dir", text?);
        if !path.is_dir() {
            self.fault("/runtime/spill_dir", format!("there is no folder {}", shown(&path)));
        }
        Some(path)
    }

    /// A wait; the schema has made sure that it has a unit.
    pub(super) fn duration(&mut self, pointer: &str, text: &DurationText) -> Duration {
        let duration = self.pause(pointer, text);
        if duration.is_zero() {
            self.fault(pointer, "a wait must be longer than nothing");
        }
        duration
    }

    /// A wait that may be none.
    pub(super) fn pause(&mut self, pointer: &str, text: &DurationText) -> Duration {
        let Ok(duration) = text.0.parse::<SignedDuration>() else { return Duration::ZERO };
        if duration < SignedDuration::ZERO {
            self.fault(pointer, "a wait must be longer than nothing");
        } else if duration > DURATION_MAX {
            self.fault(pointer, format!("a wait may be at most {DURATION_MAX:#}"));
        }
        duration.unsigned_abs()
    }

    /// A path relative to the folder of the file that it stands in.
    pub(super) fn path(&mut self, pointer: &str, text: &str) -> PathBuf {
        if text.is_empty() {
            self.fault(pointer, "this path is empty");
        } else if text.starts_with("~/") {
            let fault = self.layers.fault(pointer, "`~` is not replaced in a path");
            self.faults.push(fault.help("write the whole path, or one relative to this file"));
        }
        self.layers.folder(pointer).join(text)
    }

    /// Judges the name of a listener, upstream or account.
    pub(super) fn name(&mut self, pointer: &str, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts && name.bytes().all(plain) && name.len() <= NAME_BYTES_MAX {
            return;
        }
        let fault = self.layers.key_fault(pointer, "this name cannot be used");
        self.faults.push(fault.help(format!(
            "a name has 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`, and begins with a letter or digit"
        )));
    }

    pub(super) fn fault(&mut self, pointer: &str, message: impl Into<String>) {
        self.faults.push(self.layers.fault(pointer, message));
    }

    /// Finds texts that expect to be filled in. No text is: a typo in a name would silently give
    /// nothing.
    fn placeholders(&mut self, at: &Pointer, value: &Value) {
        match value {
            Value::String(text) if text.contains("${") => {
                let fault = self.layers.fault(at.as_str(), "`${...}` is not replaced here");
                self.faults.push(placeholder_help(fault, at));
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.placeholders(&at.join(index), element);
                }
            }
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.placeholders(&at.join(key), value);
                }
            }
            _ => {}
        }
    }
}

fn placeholder_help(fault: Fault, at: &Pointer) -> Fault {
    let names: Vec<String> = at.names().map(|name| name.to_uppercase().replace('-', "_")).collect();
    let fault = fault.help("a secret is taken from a variable by { env = \"NAME\" }");
    if at.names().any(|name| name.parse::<usize>().is_ok()) {
        return fault;
    }
    fault.help(format!("any other key is set by the variable DOORWARD_{}", names.join("__")))
}

fn limits(written: super::written::Limits) -> Limits {
    Limits {
        request_head_bytes_max: written.request_head_bytes_max,
        header_fields_max: written.header_fields_max,
        replay_body_bytes_max: written.replay_body_bytes_max,
        replay_body_total_bytes_max: written.replay_body_total_bytes_max,
        replay_spill_bytes_max: written.replay_spill_bytes_max,
        replay_spill_total_bytes_max: written.replay_spill_total_bytes_max,
        verdict_body_bytes_max: written.verdict_body_bytes_max,
        login_answer_bytes_max: written.login_answer_bytes_max,
        connections_max: written.connections_max,
        memory_bytes_max: written.memory_bytes_max,
        bytes_per_second_min: written.bytes_per_second_min,
        streams_max: written.streams_max,
        sessions_max: written.sessions_max,
        client_login_bytes_max: written.client_login_bytes_max,
    }
}

/// Escapes a key for a JSON pointer.
pub(super) fn under(holder: &str, name: &str) -> String {
    Pointer::from(holder).join(name).as_str().to_owned()
}

/// The path as an operator would write it.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
