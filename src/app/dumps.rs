//! Core dumps: a process that holds secrets leaves its memory to nobody.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// What held before core dumps were forbidden.
#[derive(Clone, Copy, Debug)]
pub struct DumpsBefore(Option<u64>);

/// Forbids core dumps of this process, and with them that another process of the same user reads its
/// memory (`PR_SET_DUMPABLE`, `RLIMIT_CORE`). What it starts may have some again where the hard limit
/// allows it.
///
/// # Errors
/// When the system does not know how.
pub fn forbid_core_dumps() -> io::Result<DumpsBefore> {
    let Rlimit { current, maximum } = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(DumpsBefore(current))
}

/// Allows what was allowed before.
///
/// # Errors
/// When the system does not know how.
pub fn allow_core_dumps(before: DumpsBefore) -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: before.0, maximum })?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}
