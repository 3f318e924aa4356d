//! The threads of all pipelines: taken while there is work, given back while there is none.
//!
//! Lanes, trunks, committers and sinks are tasks of one runtime. What computes or blocks runs in a thread of its pool, for
//! as long as there is something to do; what waits for input, a due time or its neighbour has none. So a
//! process has as many threads as pipelines are busy, and one that is idle costs no stack and no wake-up.
//!
//! A thread that waits for another worker of its pipeline must never keep it from getting one: the pool has no
//! bound of its own. What runs at once is bounded by the channels between the workers.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::pulse::Pulse;
use crate::report::Failure;

/// More than any machine gives: only the operating system says no.
const THREADS_MAX: usize = 1 << 16;
/// A thread that nobody took again for so long ends: hundreds of short looks within seconds need few of them.
const KEPT: Duration = Duration::from_millis(500);
/// Tasks only wait and hand over.
const TASK_THREADS: usize = 2;

/// The runtime of all workers of this process. It is never shut down: whoever ends waits for its own workers.
#[derive(Debug, Clone, Copy)]
pub struct Pool(&'static Shared);

#[derive(Debug)]
struct Shared {
    runtime: Runtime,
    pulse: Pulse,
}

impl Pool {
    /// # Errors
    /// `engine.thread`: the operating system has no thread left.
    pub fn shared() -> Result<Pool, Failure> {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        if let Some(shared) = SHARED.get() {
            return Ok(Pool(shared));
        }
        let runtime = Builder::new_multi_thread()
            .thread_name("engine")
            .worker_threads(TASK_THREADS)
            .max_blocking_threads(THREADS_MAX)
            .thread_keep_alive(KEPT)
            .enable_all()
            .build()
            .map_err(|error| Failure::outside("engine.thread", "cannot start a thread").no_retry().because(error))?;
        let mut made = Some(runtime);
        let shared = SHARED.get_or_init(|| {
            let runtime = made.take().expect("this is called once");
            let pulse = Pulse::default();
            runtime.spawn(pulse.clone().beat());
            Shared { runtime, pulse }
        });
        if let Some(unused) = made {
            unused.shutdown_background();
        }
        Ok(Pool(shared))
    }

    /// Starts a task; what it logs belongs to the pipeline of whoever started it.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle().spawn(task.in_current_span())
    }

    /// Runs what blocks or computes in a thread.
    ///
    /// # Errors
    /// `job.panic`.
    pub async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let span = tracing::Span::current();
        let work = move || {
            let _within = span.entered();
            work()
        };
        let done = self.handle().spawn_blocking(work).await;
        done.map_err(|_| Failure::bug("job.panic", format!("{what} panicked")))
    }

    /// Starts what blocks or computes in a thread, and does not wait for it.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) {
        let span = tracing::Span::current();
        self.handle().spawn_blocking(move || span.in_scope(work));
    }

    /// Waits in a thread of the pool for what is told by a task.
    pub fn wait<T>(&self, task: impl Future<Output = T>) -> T {
        self.handle().block_on(task)
    }

    /// True if this process ran without a gap since then: who waited for something did wait.
    pub fn ran_since(&self, then: Instant) -> bool {
        self.0.pulse.ran_since(then)
    }

    pub fn handle(&self) -> &Handle {
        self.0.runtime.handle()
    }
}
