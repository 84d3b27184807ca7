//! Core dumps: a process that holds secrets leaves its memory to nobody.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// What held before core dumps were forbidden.
#[derive(Clone, Copy, Debug)]
pub struct DumpsBefore(Option<u64>);

/// Keeps this process's memory from core dumps and from other processes of the same user
/// (`PR_SET_DUMPABLE`). What it starts is as it would be otherwise.
///
/// # Errors
/// When the system does not know how.
pub fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The same, and what it starts writes no core dump either (`RLIMIT_CORE`), unless it raises its
/// limit itself: commands that give secrets hold them.
///
/// # Errors
/// When the system does not know how.
pub fn forbid_core_dumps() -> io::Result<DumpsBefore> {
    hide_memory()?;
    let Rlimit { current, maximum } = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
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
