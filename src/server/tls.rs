//! TLS of the server: certificate and key, and the CA of clients where these must show a certificate.
//!
//! The files are looked at again when somebody connects: a renewed certificate is used without a restart. One that
//! cannot be used then is named in the log, and the one before goes on. Handshakes are made beside one another, so
//! that a client that says nothing holds nobody up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::serve::Listener;
use openssl::asn1::Asn1Time;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslVerifyMode};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Name};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_openssl::SslStream;

use crate::report::Failure;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Whoever connects while so many have not finished waits.
const HANDSHAKES_MAX: usize = 256;
/// Where no file descriptor is left, for example.
const PAUSE: Duration = Duration::from_secs(1);

/// The files: PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its CA.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// With it only clients are let in that show a certificate of this CA.
    pub client_ca: Option<PathBuf>,
}

/// What is shown to clients, as the files have it.
pub struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    acceptor: SslAcceptor,
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// Tells whether a file is another one; `None`: it cannot be read.
type Stamp = Option<(SystemTime, u64)>;

impl Tls {
    /// # Errors
    /// `serve.tls` (user): which file cannot be used, and why.
    pub fn read(files: TlsFiles) -> Result<Arc<Tls>, Failure> {
        let stamps = files.stamps();
        let current = Current { acceptor: files.acceptor()?, stamps, looked: Instant::now() };
        Ok(Arc::new(Tls { files, current: Mutex::new(current) }))
    }

    /// Clients show a certificate.
    pub fn knows_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    fn acceptor(&self) -> SslAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            // Before they are read: what changes meanwhile is seen the next time.
            let stamps = self.files.stamps();
            if stamps != current.stamps {
                match self.files.acceptor() {
                    Ok(acceptor) => {
                        tracing::info!("the certificate in `{}` is used from now on", self.files.certificate.display());
                        current.acceptor = acceptor;
                    }
                    Err(failure) => tracing::warn!("{failure}; the certificate from before goes on"),
                }
                current.stamps = stamps;
            }
        }
        current.acceptor.clone()
    }
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Stamp> {
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_ca);
        let stamp = |path: &PathBuf| {
            let known = std::fs::metadata(path).ok()?;
            Some((known.modified().ok()?, known.len()))
        };
        files.map(stamp).collect()
    }

    fn acceptor(&self) -> Result<SslAcceptor, Failure> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        let [own, between @ ..] = chain.as_slice() else { return Err(holds_none(&self.certificate)) };
        if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            let message = format!("the key in `{key}` is not that of the first certificate in `{certificate}`");
            return Err(Failure::user("serve.tls", message)
                .hint("the server's own certificate stands first, those of its CAs behind it"));
        }
        if Asn1Time::days_from_now(0).is_ok_and(|now| *own.not_after() < now) {
            tracing::warn!("the certificate in `{}` has expired: {}", self.certificate.display(), own.not_after());
        }
        let trusted = self.client_ca.as_deref().map(certificates).transpose()?;
        if let (Some(path), Some([])) = (&self.client_ca, trusted.as_deref()) {
            return Err(holds_none(path));
        }
        built(own, between, &key, trusted.as_deref()).map_err(|error| {
            Failure::user("serve.tls", format!("the certificate in `{}` cannot be used", self.certificate.display()))
                .because(error)
        })
    }
}

fn built(
    own: &X509,
    between: &[X509],
    key: &PKey<Private>,
    trusted: Option<&[X509]>,
) -> Result<SslAcceptor, openssl::error::ErrorStack> {
    // TLS 1.2 and 1.3.
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate(own)?;
    between.iter().try_for_each(|certificate| acceptor.add_extra_chain_cert(certificate.clone()))?;
    acceptor.set_private_key(key)?;
    // Without it a session of a client with a certificate cannot be resumed.
    acceptor.set_session_id_context(b"runner")?;
    if let Some(trusted) = trusted {
        let mut store = X509StoreBuilder::new()?;
        let mut names = Stack::new()?;
        for certificate in trusted {
            store.add_cert(certificate.clone())?;
            names.push(X509Name::from_der(&certificate.subject_name().to_der()?)?)?;
        }
        acceptor.set_verify_cert_store(store.build())?;
        acceptor.set_client_ca_list(names);
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(acceptor.build())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::user("serve.tls", format!("the file `{}` cannot be read", path.display())).because(error)
    })
}

fn certificates(path: &Path) -> Result<Vec<X509>, Failure> {
    X509::stack_from_pem(&read(path)?).map_err(|error| {
        Failure::user("serve.tls", format!("the certificates in `{}` cannot be read", path.display()))
            .because(error)
            .hint("they are PEM text: `-----BEGIN CERTIFICATE-----`")
    })
}

fn private_key(path: &Path) -> Result<PKey<Private>, Failure> {
    let mut is_encrypted = false;
    // Nobody is asked for a password.
    let key = PKey::private_key_from_pem_callback(&read(path)?, |_| {
        is_encrypted = true;
        Ok(0)
    });
    key.map_err(|error| {
        let failure = Failure::user("serve.tls", format!("the key in `{}` cannot be read", path.display()));
        match is_encrypted {
            true => failure
                .because("it has a password")
                .hint("`openssl pkey -in FILE -out PLAIN` takes it away: let only the server read that file"),
            false => failure.because(error).hint("it is PEM text: `-----BEGIN PRIVATE KEY-----`"),
        }
    })
}

fn holds_none(path: &Path) -> Failure {
    Failure::user("serve.tls", format!("there is no certificate in `{}`", path.display()))
}

/// Gives connections whose handshakes are done.
pub struct TlsListener {
    tcp: TcpListener,
    tls: Arc<Tls>,
    handshakes: JoinSet<Option<(SslStream<TcpStream>, SocketAddr)>>,
}

impl TlsListener {
    pub fn new(tcp: TcpListener, tls: Arc<Tls>) -> Self {
        TlsListener { tcp, tls, handshakes: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = SslStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                connected = self.tcp.accept(), if self.handshakes.len() < HANDSHAKES_MAX => match connected {
                    Ok((stream, from)) => {
                        let acceptor = self.tls.acceptor();
                        self.handshakes.spawn(async move {
                            let shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, shake(&acceptor, stream)).await;
                            match shaken {
                                Ok(Ok(stream)) => return Some((stream, from)),
                                Ok(Err(error)) => tracing::debug!("{from} is not let in: {error}"),
                                Err(_) => tracing::debug!("{from} began no TLS"),
                            }
                            None
                        });
                    }
                    Err(error) => {
                        tracing::warn!("no connection can be taken: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                ended = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Some(Ok(Some(done))) = ended {
                        return done;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn shake(acceptor: &SslAcceptor, stream: TcpStream) -> Result<SslStream<TcpStream>, String> {
    let ssl = Ssl::new(acceptor.context()).map_err(|error| error.to_string())?;
    let mut stream = SslStream::new(ssl, stream).map_err(|error| error.to_string())?;
    Pin::new(&mut stream).accept().await.map_err(|error| error.to_string())?;
    Ok(stream)
}
