//! Opens the audit trail, where one is configured.

use super::StartError;
use crate::audit::{self, Audit, Ended, Seal, Trail};
use crate::settings::{self, Loaded};
use crate::telemetry::{OnFailure, Reporter};

/// Opens the trail and starts to write it. Blocks on the file system.
pub(super) fn start(
    loaded: &Loaded,
    reporter: &Reporter,
) -> Result<Option<(Audit, Ended)>, StartError> {
    let Some(trail) = open(loaded)? else { return Ok(None) };
    let on_failure = match loaded.settings.audit.as_ref().map(|audit| audit.on_failure) {
        Some(settings::OnAuditFailure::Block) => OnFailure::Block,
        Some(settings::OnAuditFailure::Continue) | None => OnFailure::Continue,
    };
    audit::start(trail, reporter.downgrade(), on_failure).map(Some).map_err(StartError::Core)
}

/// Opens the trail. Blocks on the file system.
pub(super) fn open(loaded: &Loaded) -> Result<Option<Trail>, StartError> {
    let Some(audit) = &loaded.settings.audit else { return Ok(None) };
    let key = loaded.read_audit_key().map_err(StartError::Faults)?;
    let seal = key.as_ref().map_or(Seal::Plain, Seal::keyed);
    Ok(Some(Trail::open(&audit.path, seal)?))
}
