//! A door in front of the real registry that asks who is there: TLS, client certificates, an `Authorization` header.
//!
//! Whoever is let in talks to the registry; the door only hands over, one request per connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVerifyMode};

/// What the door demands.
#[derive(Default)]
pub struct Demands {
    /// TLS with this certificate and key, of `certificates`.
    pub certificate: Option<&'static str>,
    /// A client certificate that `ca.pem` signed.
    pub client_certificate: bool,
    /// The whole value of the header.
    pub authorization: Option<&'static str>,
}

/// The door stands open until this is dropped.
pub struct Doorman {
    port: u16,
    shut: Arc<AtomicBool>,
}

struct Door {
    tls: Option<SslAcceptor>,
    authorization: Option<&'static str>,
    /// `host:port` of the registry.
    server: String,
}

impl Doorman {
    /// `server`: `host:port` of the registry; `certificates`: their folder.
    pub fn before(server: &str, certificates: &Path, demands: Demands) -> Doorman {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, shut) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let tls = demands.certificate.map(|name| {
            let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
            tls.set_private_key_file(certificates.join(name), SslFiletype::PEM).unwrap();
            tls.set_certificate_chain_file(certificates.join(name)).unwrap();
            if demands.client_certificate {
                tls.set_ca_file(certificates.join("ca.pem")).unwrap();
                tls.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            }
            tls.build()
        });
        let door = Arc::new(Door { tls, authorization: demands.authorization, server: server.to_owned() });
        let is_shut = shut.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), false) = (stream, is_shut.load(SeqCst)) else { return };
                let door = door.clone();
                std::thread::spawn(move || door.admit(stream));
            }
        });
        Doorman { port, shut }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        self.shut.store(true, SeqCst);
        // Wakes it, so that it looks.
        let _ = TcpStream::connect(self.address());
    }
}

impl Door {
    fn admit(&self, stream: TcpStream) {
        match &self.tls {
            None => drop(self.hand_over(stream)),
            Some(tls) => {
                // Who fails the handshake has been told why by it.
                let Ok(mut stream) = tls.accept(stream) else { return };
                let _ = self.hand_over(&mut stream);
                let _ = stream.shutdown();
            }
        }
    }

    fn hand_over(&self, mut client: impl Read + Write) -> std::io::Result<()> {
        let mut request = Vec::new();
        let mut part = [0; 4096];
        let (head, body_size) = loop {
            let size = client.read(&mut part)?;
            if size == 0 {
                return Ok(());
            }
            request.extend_from_slice(&part[..size]);
            if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&request[..end]).into_owned();
                let size = header(&head, "content-length").map_or(0, |size| size.parse().expect("a number"));
                request.drain(..end + 4);
                break (head, size);
            }
        };
        while request.len() < body_size {
            let size = client.read(&mut part)?;
            request.extend_from_slice(&part[..size]);
        }
        if self.authorization.is_some() && header(&head, "authorization") != self.authorization {
            let body = r#"{"error_code":401,"message":"Unauthorized"}"#;
            let size = body.len();
            return write!(
                client,
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{body}"
            );
        }
        let mut server = TcpStream::connect(&self.server)?;
        write!(server, "{head}\r\nConnection: close\r\n\r\n")?;
        server.write_all(&request)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        client.write_all(&answer)?;
        client.flush()
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}
