//! A door in front of a server: a port of this machine that can be shut and opened.
//!
//! Shut, connections are refused and those that were open are gone, as if the server were away.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Starts shut. Dropping it shuts it.
pub struct Gate {
    port: u16,
    /// `host:port` of the server behind it.
    server: String,
    open: Option<Open>,
}

struct Open {
    shut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Gate {
    pub fn to(server: &str) -> Gate {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Gate { port, server: server.to_owned(), open: None }
    }

    /// `host:port` of the door.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn open(&mut self) {
        let listener = TcpListener::bind(self.address()).expect("the port is still free");
        listener.set_nonblocking(true).unwrap();
        let (shut, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (server, flag, kept) = (self.server.clone(), shut.clone(), streams.clone());
        let thread = std::thread::spawn(move || {
            while !flag.load(SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => join(stream, TcpStream::connect(&server).unwrap(), &kept),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        self.open = Some(Open { shut, streams, thread });
    }

    pub fn shut(&mut self) {
        let Some(Open { shut, streams, thread }) = self.open.take() else { return };
        shut.store(true, SeqCst);
        thread.join().unwrap();
        streams.lock().unwrap().iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Copies both ways until one side ends.
fn join(client: TcpStream, server: TcpStream, kept: &Mutex<Vec<TcpStream>>) {
    client.set_nonblocking(false).unwrap();
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    kept.lock().unwrap().extend([client, server]);
}
