//! One core of the data path: a thread, a runtime, sockets and upstream connections of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::heart::Heart;
use crate::outbox;
use crate::proxy::force::InForce;
use crate::proxy::{self, Shared, UnderWayCount};
use crate::server::{self, Open, Socket, Unregistered};

/// A core that runs. Its thread ends when none of its sockets is open any more.
#[derive(Debug)]
pub(super) struct Core {
    core: Arc<proxy::Core>,
    runtime: Handle,
    served: TaskTracker,
    everything: CancellationToken,
    /// Shows whether it hangs.
    pub(super) heart: Heart,
    /// Its requests.
    pub(super) under_way: UnderWayCount,
}

/// A core's thread is ready to run.
pub(super) struct Ready {
    core: Core,
    runtime: Waiting,
}

/// A runtime that no thread runs yet. Dropped, it ends without being waited for: a task must not.
struct Waiting(Option<Runtime>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Ready {
    /// Makes core `number`.
    ///
    /// # Errors
    /// When there is no runtime or no descriptor for it.
    pub(super) fn new(
        number: usize,
        shared: &Arc<Shared>,
        in_force: &Arc<InForce>,
        everything: &CancellationToken,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let core = Arc::new(proxy::Core::new(Arc::clone(shared), Arc::clone(in_force)));
        // These end with the runtime.
        runtime.spawn(core.looks_after_deadlines());
        runtime.spawn(Arc::clone(&core.watch).look());
        runtime.spawn(outbox::run());
        let (heart, answers) = Heart::new(number);
        runtime.spawn(answers);
        let core = Core {
            under_way: core.under_way.count(),
            core,
            runtime: runtime.handle().clone(),
            served: TaskTracker::new(),
            everything: everything.clone(),
            heart,
        };
        Ok(Self { core, runtime: Waiting(Some(runtime)) })
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// Starts its thread, once it has sockets.
    ///
    /// # Errors
    /// When there is no thread.
    pub(super) fn start(self) -> io::Result<(Core, JoinHandle<()>)> {
        let Self { core, mut runtime } = self;
        core.served.close();
        let served = core.served.clone();
        let name = format!("core-{}", core.heart.number());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            if let Some(runtime) = runtime.0.as_mut() {
                runtime.block_on(served.wait());
            }
            // Connections to upstreams are tasks of this runtime: they end with it.
            drop(runtime);
        })?;
        Ok((core, thread))
    }
}

impl Core {
    /// Makes a socket known to the core's runtime.
    ///
    /// # Errors
    /// When the runtime has no descriptor left.
    pub(super) fn register(&self, socket: Unregistered) -> io::Result<Socket> {
        let _inside = self.runtime.enter();
        socket.register()
    }

    /// Serves a socket from now on.
    pub(super) fn serve(&self, socket: Socket, open: &Open) {
        let everything = self.everything.clone();
        let serving = server::serve(socket, open.clone(), Arc::clone(&self.core), everything);
        self.served.spawn_on(serving, &self.runtime);
    }

    /// Puts another configuration in force on it.
    pub(super) fn put_in_force(&self, in_force: &Arc<InForce>) {
        self.core.put_in_force(in_force);
    }
}
