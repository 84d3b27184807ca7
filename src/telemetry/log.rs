//! Events as log lines, for people or for machines.

use std::time::SystemTime;

use tracing::{debug, error, info, warn};

use super::{
    About, AuditTrouble, Event, IssuerKeys, KeysOutcome, Learned, Login, OnFailure, Operation,
    ReachChange, Reachability, Reader, Rejected, Reload, ReloadStage, Request, Revocation,
    Rotation, SecretTrouble, Stage, Strain,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Writes events as log lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Log {
    /// Sends log lines of `level` and above to standard error. Only the first call of a process
    /// counts.
    pub fn install(format: Format, level: &str) {
        let filter = tracing_subscriber::EnvFilter::new(format!("warn,doorward={level}"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // A second installation, as tests make, changes nothing and is no fault.
        _ = match format {
            Format::Human => lines.with_target(false).try_init(),
            Format::Json => lines.json().flatten_event(true).with_target(false).try_init(),
        };
    }
}

impl Reader for Log {
    fn read(&mut self, _: SystemTime, event: &Event) {
        match event {
            Event::Login(login) => log_login(login),
            Event::Expired(about) => log_about(about, "session expired"),
            Event::LateExpiry(About { upstream, account, generation }) => {
                debug!(%upstream, %account, generation, "late expiry of an older session");
            }
            Event::Probe { about: About { upstream, account, generation }, alive, .. } => {
                info!(%upstream, %account, generation, alive, "session probed");
            }
            Event::Logout { about, confirmed: true, .. } => log_about(about, "logged out"),
            Event::Logout {
                about: About { upstream, account, generation },
                confirmed: false,
                ..
            } => {
                warn!(%upstream, %account, generation, "logout was not confirmed");
            }
            Event::Refreshed { about: About { upstream, account, generation }, outcome, took } => {
                let took_ms = took.as_millis() as u64;
                match outcome {
                    Ok(next) => {
                        info!(%upstream, %account, generation, next, took_ms, "session refreshed");
                    }
                    Err(cause) => {
                        warn!(%upstream, %account, generation, cause, took_ms, "refresh failed");
                    }
                }
            }
            Event::Renewed { about: About { upstream, account, generation }, outcome, took } => {
                let took_ms = took.as_millis() as u64;
                match outcome {
                    Ok(next) => {
                        info!(%upstream, %account, generation, next, took_ms, "session values renewed");
                    }
                    Err(cause) => {
                        warn!(%upstream, %account, generation, cause, took_ms, "renewal failed");
                    }
                }
            }
            Event::LetGo { about: About { upstream, account, generation }, why } => {
                info!(%upstream, %account, generation, why = why.as_str(), "session let go");
            }
            Event::Displaced { about: About { upstream, account, generation }, pause } => {
                warn!(
                    %upstream, %account, generation, pause_s = pause.as_secs(),
                    "somebody else logs in with this account and ends its sessions: held back"
                );
            }
            Event::Paused { upstream, account, pause } => {
                let pause_s = pause.as_secs();
                warn!(%upstream, %account, pause_s, "too much for the upstream: requests wait");
            }
            Event::Quarantined { upstream, account, cause } => {
                error!(
                    %upstream, %account, cause,
                    "account quarantined: no login until its secret changes or an operator clears it \
                     (doorward clear)"
                );
            }
            Event::Rotation(rotation) => log_rotation(rotation),
            Event::SecretTrouble(trouble) => log_trouble(trouble),
            Event::IssuerKeys(about) => log_keys(about),
            Event::Reach(about) => log_reach(about),
            Event::Adopted(about) => log_about(about, "session of an earlier run is used on"),
            Event::LeftOpen { upstream, account, closed: true } => {
                info!(%upstream, %account, "session that was left open is closed");
            }
            Event::LeftOpen { upstream, account, closed: false } => {
                warn!(%upstream, %account, "session that was left open could not be closed");
            }
            Event::AnswerLost { upstream, account, what } => {
                warn!(%upstream, %account, "{}", what.as_str());
            }
            Event::StateUnwritable { upstream, account, why } => {
                tracing::error!(%upstream, %account, %why, "the state could not be written");
            }
            Event::Revocation(revocation) => log_revocation(revocation),
            Event::StateNotice(notice) => warn!("{notice}"),
            Event::Audit(AuditTrouble::Unwritable { why, requests: OnFailure::Continue }) => {
                error!(why, "the audit trail cannot be written: its lines are lost");
            }
            Event::Audit(AuditTrouble::Unwritable { why, requests: OnFailure::Block }) => {
                error!(why, "the audit trail cannot be written: no request is forwarded");
            }
            Event::Audit(AuditTrouble::Lost { lost: 0 }) => {
                warn!("the audit trail is written again; no line was lost");
            }
            Event::Audit(AuditTrouble::Lost { lost }) => {
                error!(lost, "lines of the audit trail were lost; it is written again");
            }
            Event::Strain(strain) => log_strain(strain),
            Event::Reload(reload) => log_reload(reload),
            Event::Operator(operation) => log_operation(operation),
            Event::Rejected(rejected) => log_rejected(rejected),
            Event::Request(request) => log_request(request),
        }
    }

    fn wants_requests(&self) -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    fn dropped(&mut self, count: u64) {
        warn!(count, "events were dropped: the reader did not keep up");
    }
}

fn log_about(About { upstream, account, generation }: &About, phrase: &'static str) {
    info!(%upstream, %account, generation, "{phrase}");
}

fn log_login(login: &Login) {
    let Login { upstream, account, trigger, outcome, took, .. } = login;
    let (trigger, took_ms) = (trigger.as_str(), took.as_millis() as u64);
    match outcome {
        Ok(generation) => info!(%upstream, %account, trigger, generation, took_ms, "logged in"),
        Err(cause) => warn!(%upstream, %account, trigger, cause, took_ms, "login failed"),
    }
}

fn log_reload(Reload { stage, sha256 }: &Reload) {
    match stage {
        ReloadStage::Begun => debug!(%sha256, "the configuration is read again"),
        ReloadStage::Done { took } => {
            let took_ms = took.as_millis() as u64;
            info!(%sha256, took_ms, "configuration reloaded");
        }
        ReloadStage::Failed { faults, took } => {
            let (took_ms, count) = (took.as_millis() as u64, faults.len());
            let faults = faults.join("; ");
            error!(
                %sha256, took_ms, count, faults,
                "the configuration cannot be used: the last one that could is kept"
            );
        }
    }
}

fn log_rotation(Rotation { upstream, account, stage }: &Rotation) {
    match stage {
        Stage::Begun => info!(%upstream, %account, "secret changed: rotation begun"),
        Stage::Waiting { cause, pause } => {
            let pause_ms = pause.as_millis() as u64;
            warn!(%upstream, %account, cause, pause_ms, "rotation waits, the old secret is kept");
        }
        Stage::Done { generation, took } => {
            let took_ms = took.as_millis() as u64;
            info!(%upstream, %account, generation, took_ms, "rotation done");
        }
        Stage::Refused { cause } => error!(
            %upstream, %account, cause,
            "the new secret was refused: the old one is kept until the secret is changed again"
        ),
    }
}

fn log_revocation(revocation: &Revocation) {
    match revocation {
        Revocation::Taken { client, key, learned: Learned::Running, .. } => {
            warn!(%client, key, "key revoked");
        }
        Revocation::Taken { client, key, learned: Learned::AtStart, .. } => {
            warn!(%client, key, "a key of the configuration is revoked: take it out");
        }
        Revocation::Unreadable { why } => error!(
            why,
            "the file of revoked keys cannot be read: what is known to be revoked stays so, \
             further revocations may be missed, and the next start is refused"
        ),
        Revocation::Missing { keys } => error!(
            keys,
            "revoked keys are missing in their file: they stay revoked until the next start"
        ),
    }
}

fn log_trouble(trouble: &SecretTrouble) {
    match trouble {
        SecretTrouble::Unreadable { upstream, account, why } => {
            error!(%upstream, %account, why, "a secret cannot be read: the last one is kept");
        }
        SecretTrouble::Unwatched { directory, why } => {
            let directory = directory.display();
            warn!(%directory, why, "changes of files are seen late: the directory is not watched");
        }
    }
}

fn log_keys(IssuerKeys { issuer, outcome }: &IssuerKeys) {
    match outcome {
        KeysOutcome::New { keys } => info!(%issuer, keys, "new keys of the issuer fetched"),
        KeysOutcome::Same => debug!(%issuer, "keys of the issuer fetched: the same as before"),
        KeysOutcome::Failed { why, kept: true } => {
            warn!(%issuer, why, "the issuer's keys cannot be fetched: the last ones are kept");
        }
        KeysOutcome::Failed { why, kept: false } => {
            error!(%issuer, why, "the issuer's keys cannot be fetched: its tokens are refused");
        }
        KeysOutcome::Dropped => {
            error!(%issuer, "the issuer's last keys are too old: its tokens are refused");
        }
    }
}

fn log_reach(Reachability { upstream, change }: &Reachability) {
    let phrase = change.phrase();
    match change {
        ReachChange::CircuitOpened { failures, pause, cause } => {
            let pause_ms = pause.as_millis() as u64;
            warn!(%upstream, failures, pause_ms, cause, "{phrase}");
        }
        ReachChange::CircuitClosed { after } => {
            info!(%upstream, after_ms = after.as_millis() as u64, "{phrase}");
        }
        ReachChange::AddressLeftOut { address, pause, cause } => {
            let pause_ms = pause.as_millis() as u64;
            warn!(%upstream, %address, pause_ms, cause, "{phrase}");
        }
        ReachChange::AddressBack { address } => info!(%upstream, %address, "{phrase}"),
        ReachChange::AddressesChanged { addresses } => info!(%upstream, addresses, "{phrase}"),
        ReachChange::AddressProhibited { address } => error!(%upstream, %address, "{phrase}"),
        ReachChange::NameUnresolved { why, kept_for: Some(kept_for) } => {
            warn!(%upstream, why, kept_for_s = kept_for.as_secs(), "{phrase}");
        }
        ReachChange::NameUnresolved { why, kept_for: None } => error!(%upstream, why, "{phrase}"),
        ReachChange::NameResolved => info!(%upstream, "{phrase}"),
    }
}

fn log_strain(strain: &Strain) {
    let Strain { load, descriptors_percent, memory_percent, connections } = strain;
    match *load {
        "normal" => {
            info!(descriptors_percent, memory_percent, connections, "requests are taken again");
        }
        load => warn!(
            load,
            descriptors_percent,
            memory_percent,
            connections,
            "memory or descriptors are nearly used up: new requests are refused"
        ),
    }
}

fn log_operation(Operation { who, action, subject, outcome }: &Operation) {
    match outcome {
        Ok(()) => info!(%who, action, subject, "an operator has acted"),
        Err(cause) => warn!(%who, action, subject, cause, "what an operator asked for failed"),
    }
}

/// Texts of clients are written with escapes: they may hold anything.
fn log_rejected(rejected: &Rejected) {
    let head = rejected.head.as_ref();
    let at = jiff::Timestamp::try_from(rejected.at).unwrap_or_default();
    info!(
        %at,
        listener = %rejected.listener,
        peer = rejected.peer.map(tracing::field::display),
        reason = rejected.reason,
        method = head.map(|head| tracing::field::debug(&head.method)),
        path = head.map(|head| tracing::field::debug(&head.path)),
        fields = head.map(|head| tracing::field::debug(&head.fields)),
        "rejected message",
    );
}

fn log_request(request: &Request) {
    if request.redacted > 0 {
        warn!(
            request_id = %request.id,
            upstream = request.upstream.as_deref(),
            method = %request.method,
            path = ?request.path,
            redacted = request.redacted,
            "an answer showed a session value or a password: it was replaced",
        );
    }
    debug!(
        request_id = %request.id,
        client = request.client(),
        peer = request.peer.map(tracing::field::display),
        upstream = request.upstream.as_deref(),
        method = %request.method,
        path = ?request.path,
        status = request.status.as_u16(),
        reason = request.reason,
        generation = request.generation,
        replayed = request.replayed,
        waited_ms = request.waited.map(|waited| waited.as_millis() as u64),
        took_ms = request.took.as_millis() as u64,
        body_bytes = request.body_bytes,
        redacted = request.redacted,
        decoded = request.decoded.as_ref().map(|decoded| &*decoded.codings),
        coded_bytes = request.decoded.as_ref().map(|decoded| decoded.coded_bytes),
        "request",
    );
}
