//! One core of the data path: a thread, a runtime, sockets and upstream connections of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio_util::task::TaskTracker;

use crate::proxy::{Core, Shared};
use crate::server::{self, Limits, Listener, Stop, Unregistered};
use crate::upstream::{Origin, Pool};

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
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let pools = origins.iter().map(|origin| Pool::new(Arc::clone(origin))).collect();
    let core = Arc::new(Core::new(Arc::clone(shared), pools));
    // It ends with the runtime.
    runtime.spawn(core.looks_after_deadlines());
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
    std::thread::Builder::new().name(format!("core-{number}")).spawn(move || {
        runtime.block_on(served.wait());
        // Connections to upstreams are tasks of this runtime: they end with it.
        runtime.shutdown_background();
    })
}
