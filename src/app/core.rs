//! One core of the data path: a thread, a runtime, sockets and upstream connections of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio_util::task::TaskTracker;

use super::heart::Heart;
use crate::proxy::{Core, Shared, UnderWayCount};
use crate::server::{self, Limits, Listener, Stop, Unregistered};
use crate::upstream::{Origin, Pool};

/// A core that runs.
pub(super) struct Running {
    pub(super) thread: JoinHandle<()>,
    /// Shows whether it hangs.
    pub(super) heart: Heart,
    /// Its requests.
    pub(super) under_way: UnderWayCount,
}

/// Starts core `number` and returns once its sockets are served.
///
/// # Errors
/// When there is no thread, no runtime or no descriptor for it.
pub(super) fn start(
    number: usize,
    sockets: Vec<(Unregistered, Listener)>,
    shared: &Arc<Shared>,
    origins: &[Arc<Origin>],
    limits: Limits,
    stop: &Stop,
) -> io::Result<Running> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let pools = origins.iter().map(|origin| Pool::new(Arc::clone(origin))).collect();
    let core = Arc::new(Core::new(Arc::clone(shared), pools));
    // They end with the runtime.
    runtime.spawn(core.looks_after_deadlines());
    let (heart, answers) = Heart::new(number);
    runtime.spawn(answers);
    let under_way = core.under_way.count();
    let served = TaskTracker::new();
    {
        let _inside = runtime.enter();
        for (socket, listener) in sockets {
            let socket = socket.register()?;
            let serving = server::serve(socket, listener, Arc::clone(&core), limits, stop.clone());
            served.spawn_on(serving, runtime.handle());
        }
        // It ends with the runtime.
        runtime.spawn(Arc::clone(&core.watch).look());
    }
    served.close();
    let thread = std::thread::Builder::new().name(format!("core-{number}")).spawn(move || {
        runtime.block_on(served.wait());
        // Connections to upstreams are tasks of this runtime: they end with it.
        runtime.shutdown_background();
    })?;
    Ok(Running { thread, heart, under_way })
}
