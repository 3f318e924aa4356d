//! `runner serve`: pipelines as a server, each supervised on its own, with an HTTP API; and a schema registry.
//!
//! Ports are taken first, then the state directory, so that a second server harms nobody. What was submitted before
//! runs again at once.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Common;
use super::output::{self, Exit, Output};
use super::specs::{ValueArgs, beside_connectors};
use super::stops::Stops;
use super::worker::{Ground, WorkerConfig};
use crate::connectors::kafka::Cluster;
use crate::deploy::levels::Levels;
use crate::deploy::logs::Logs;
use crate::deploy::store::Kept;
use crate::deploy::supervisor::{Expect, Refused, Supervisor};
use crate::plan::resolve::registry_folder;
use crate::registry::EmbeddedRegistry;
use crate::report::{Failure, Style, render};
use crate::server::connect::WorkerFace;
use crate::server::{self, Credentials, Guard, Tls, TlsFiles};
use crate::time::SystemClock;

/// Answers that are under way have so long when the server ends.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// A thread that waited for a disk or a server ends so long behind its last work. Short, because each piece of work wakes the one
/// that has waited longest: idle pipelines, which look at their topics now and then, would keep all that a busy moment made.
const UNUSED_THREADS: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Specs and connectors to submit at the start: files, or folders that are searched for *.yaml and *.yml. What was submitted
    /// before runs too.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    values: ValueArgs,
    /// Where the API is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8083")]
    listen: String,
    /// Where others reach it, if that is another address than `--listen` (0.0.0.0, a container, a proxy): what `Location` and
    /// `worker_id` say.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    advertise: Option<String>,
    /// What was submitted, journals and the embedded registry are kept here.
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    state_dir: PathBuf,
    /// Serve the embedded schema registry here, for example at 127.0.0.1:8081.
    #[arg(long, value_name = "ADDRESS")]
    registry: Option<String>,
    /// The Kafka of connectors.
    #[arg(long, value_name = "HOST:PORT,…", default_value = "localhost:9092")]
    brokers: String,
    /// Defaults of connectors (brokers and who we are to them, converters, registry), as a worker of Kafka Connect has
    /// them in a file of properties.
    #[arg(long, value_name = "FILE")]
    worker_config: Option<PathBuf>,
    /// Let in only who shows a token (`Authorization: Bearer`) of this file: one on each line.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let in only who logs in as one of this file: `user:password` on each line.
    #[arg(long, value_name = "FILE")]
    users_file: Option<PathBuf>,
    /// Speak TLS, the registry too: the server's certificate and those between it and its CA, as PEM. Read again when it
    /// changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let in only clients that show a certificate of this CA.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

impl Args {
    fn tls(&self) -> Result<Option<Arc<Tls>>, Failure> {
        let Some((certificate, key)) = self.tls_cert.clone().zip(self.tls_key.clone()) else { return Ok(None) };
        Tls::read(TlsFiles { certificate, key, client_ca: self.tls_client_ca.clone() }).map(Some)
    }
}

/// `HOST:PORT`, as it stands in a URL.
fn host_and_port(text: &str) -> Result<String, String> {
    let Some((host, port)) = text.rsplit_once(':') else { return Err("expected `HOST:PORT`".into()) };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = !host.is_empty() && host.chars().all(is_host);
    let is_ipv6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if !is_name && is_ipv6.is_none_or(|address| address.parse::<std::net::Ipv6Addr>().is_err()) {
        return Err(format!("`{host}` is neither the name of a host nor its address"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(text.to_owned()),
        _ => Err(format!("`{port}` is no port")),
    }
}

/// What the process logs, for whoever asks the server.
pub struct Logging {
    pub kept: Option<Logs>,
    pub levels: Levels,
}

pub fn run(args: Args, logging: Logging, common: &Common) -> Exit {
    let output = if common.output.is_json() { Output::JsonBesideRows } else { Output::Text };
    let (specs, connectors) = match args.paths.is_empty() {
        true => (None, Vec::new()),
        false => match beside_connectors(&args.paths, &args.values, output) {
            Ok(given) => given,
            Err(exit) => return exit,
        },
    };
    allow_files();
    let clock = SystemClock::shared();
    let Logging { kept, levels } = logging;
    let logs = kept.unwrap_or_else(|| Logs::new(clock.clone()));
    let served = Faces::open(&args, levels).and_then(|faces| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_keep_alive(UNUSED_THREADS).enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::outside("engine.thread", "cannot start a thread").no_retry().because(error))?;
        let stops = Stops::watching_on(runtime.handle())?;
        let renew = |kept: &mut Kept| faces.worker.renew(kept);
        let supervisor = Supervisor::open(&args.state_dir, clock, logs, runtime.handle().clone(), renew)?;
        let take_in = || {
            if let Some(specs) = specs {
                supervisor.submit(&specs, None, &BTreeSet::new(), &Expect::Anything).map_err(of_refused)?;
            }
            connectors.iter().try_for_each(|connector| connector.submit(&faces.worker, &supervisor))
        };
        if let Err(refused) = take_in() {
            // What was there before runs already.
            runtime.block_on(supervisor.shut_down());
            return Err(refused);
        }
        faces.announce(output, &supervisor);
        let ended = runtime.block_on(faces.answer(supervisor, &stops));
        runtime.shutdown_background();
        ended
    });
    match served {
        Ok(()) => Exit::Done,
        Err(failure) => output::failure(&failure, output),
    }
}

/// As many open files as the system allows: each pipeline keeps a few, and the usual limit of 1024 is one that a process may
/// lift by itself. Where it may not, whoever opens one too many says so.
fn allow_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours, and lives over both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Nothing else can be refused at the start: nobody else changes anything.
fn of_refused(refused: Refused) -> Failure {
    match refused {
        Refused::Failed(failure) => failure,
        Refused::Wrong(wrong) => Failure::user("serve.specs", render(&wrong, Style::Plain)),
        other => Failure::bug("serve.submit", format!("the specs cannot be submitted: {other:?}")),
    }
}

fn scheme(tls: Option<&Tls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// What is listened on.
struct Faces {
    api: (TcpListener, SocketAddr),
    registry: Option<(TcpListener, SocketAddr, Arc<EmbeddedRegistry>)>,
    credentials: Credentials,
    tls: Option<Arc<Tls>>,
    /// Of connectors.
    worker: WorkerFace,
}

impl Faces {
    fn open(args: &Args, levels: Levels) -> Result<Faces, Failure> {
        let credentials = Credentials::read(args.token_file.as_deref(), args.users_file.as_deref())?;
        let tls = args.tls()?;
        let listen = |address: &str| {
            let listener = server::listen(address)?;
            let at = listener.local_addr().map_err(|error| {
                Failure::outside("serve.listen", format!("`{address}` cannot be listened on")).no_retry().because(error)
            })?;
            Ok::<_, Failure>((listener, at))
        };
        let worker = args.worker_config.as_deref().map_or_else(|| Ok(WorkerConfig::default()), WorkerConfig::read)?;
        let folder = args.worker_config.as_deref().and_then(|path| path.parent()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let Ground { worker, brokers, notes } = worker.ground(&args.brokers, args.registry.is_some(), &folder)?;
        for note in notes {
            tracing::warn!("the worker's properties: {note}");
        }
        // The connection of connectors, as their pipelines name it: they ask by the same client.
        let brokers = Cluster { connection: "default".into(), ..brokers };
        let api = listen(&args.listen)?;
        let registry = args.registry.as_deref().map(listen).transpose()?;
        let registry = registry.map(|(listener, at)| {
            let registry = EmbeddedRegistry::open(registry_folder(&args.state_dir))?;
            Ok::<_, Failure>((listener, at, Arc::new(registry)))
        });
        let advertised = args.advertise.clone().unwrap_or_else(|| api.1.to_string());
        let worker = WorkerFace::new(worker, brokers, advertised, scheme(tls.as_deref()), levels);
        Ok(Faces { api, registry: registry.transpose()?, credentials, tls, worker })
    }

    fn announce(&self, output: Output, supervisor: &Supervisor) {
        let scheme = scheme(self.tls.as_deref());
        let api = format!("{scheme}://{}", self.api.1);
        let registry = self.registry.as_ref().map(|(_, at, _)| format!("{scheme}://{at}"));
        let pipelines = supervisor.list().len();
        if output.is_json() {
            let serving = serde_json::json!({ "api": api, "registry": registry, "pipelines": pipelines });
            output.print(&serde_json::json!({ "serving": serving }));
        } else {
            let registry = registry.map_or(String::new(), |registry| format!(", schema registry at {registry}"));
            eprintln!("serving at {api}{registry}; pipelines: {pipelines}");
        }
        let all = std::iter::once(self.api.1).chain(self.registry.as_ref().map(|(_, at, _)| *at));
        let asks = !self.credentials.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.knows_clients());
        for at in all.filter(|at| !asks && !at.ip().is_loopback()) {
            tracing::warn!(
                "{at} can be reached from other machines, and asks nobody who they are: whoever reaches it may run pipelines and read files; name a `--token-file` or `--users-file`"
            );
        }
    }

    /// Answers until a stop is asked for; then every job commits, while questions are answered still.
    async fn answer(self, supervisor: Arc<Supervisor>, stops: &Stops) -> Result<(), Failure> {
        let (over, _) = tokio::sync::watch::channel(false);
        let end = |over: &tokio::sync::watch::Sender<bool>| {
            let mut over = over.subscribe();
            async move { drop(over.wait_for(|over| *over).await) }
        };
        let guard = |at| Arc::new(Guard::new(self.credentials.clone(), at));
        let tls = self.tls;
        let (listener, at) = self.api;
        let mut faces = tokio::task::JoinSet::new();
        let face = server::router(supervisor.clone(), self.worker, guard(at));
        faces.spawn(server::answer(listener, face, tls.clone(), end(&over)));
        if let Some((listener, at, registry)) = self.registry {
            let face = guard(at).before(server::registry::router(registry));
            faces.spawn(server::answer(listener, face, tls, end(&over)));
        }
        let broken = tokio::select! {
            () = stops.wait() => Ok(()),
            Some(ended) = faces.join_next() => ended.unwrap_or_else(|error| {
                Err(Failure::bug("serve.panic", "a face of the server panicked").because(error))
            }),
        };
        supervisor.shut_down().await;
        over.send_replace(true);
        let rest = async { while faces.join_next().await.is_some() {} };
        // Whoever keeps a connection open does not keep the server.
        let _ = tokio::time::timeout(LAST_ANSWERS, rest).await;
        broken
    }
}
