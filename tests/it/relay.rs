//! Somebody between clients and a Kafka broker: of some transactions the client does not hear how they ended.
//!
//! All is passed on as it is, but the answer to a commit that is to go unheard: the client is told `INVALID_TXN_STATE` in its
//! place, which says nothing of what became of the transaction, and after which its producer is of no use. The broker has to
//! advertise the relay's address, so it is made before the broker is.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The request that ends a transaction.
const END_TXN: i16 = 26;
/// From this version on it is laid out otherwise.
const FLEXIBLE: i16 = 3;
const INVALID_TXN_STATE: i16 = 48;

/// What becomes of a commit that goes unheard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The broker never hears of it.
    Lost,
    /// The broker commits.
    Committed,
}

pub struct Relay {
    listener: TcpListener,
    fates: Fates,
}

/// With how many commits are passed on before each.
type Fates = Arc<Mutex<VecDeque<(u32, Fate)>>>;

impl Relay {
    pub fn new() -> Relay {
        Relay { listener: TcpListener::bind("127.0.0.1:0").unwrap(), fates: Fates::default() }
    }

    /// `host:port` of the relay.
    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Passes on to the broker there from now on.
    pub fn to(&self, broker: &str) {
        let (listener, broker, fates) = (self.listener.try_clone().unwrap(), broker.to_owned(), self.fates.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                // The broker may be gone, at the end of a test: so is the connection then.
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(&broker)) {
                    join(client, server, &fates);
                }
            }
        });
    }

    /// Of the commits that come, these go unheard: each behind so many others.
    pub fn unheard(&self, fates: &[(u32, Fate)]) {
        self.fates.lock().unwrap().extend(fates);
    }

    /// How many of them have not come yet.
    pub fn left(&self) -> usize {
        self.fates.lock().unwrap().len()
    }
}

/// Passes on both ways until one side ends.
fn join(client: TcpStream, server: TcpStream, fates: &Fates) {
    let unheard = Arc::new(Mutex::new(BTreeSet::new()));
    // Both threads answer.
    let answers = Arc::new(Mutex::new(client.try_clone().unwrap()));
    let (mut requests, mut to_server) = (client, server.try_clone().unwrap());
    let (fates, of_requests, of_lost) = (fates.clone(), unheard.clone(), answers.clone());
    std::thread::spawn(move || {
        while let Some(frame) = frame(&mut requests) {
            match fate(&frame, &fates) {
                Some(Fate::Lost) => {
                    let nothing: &[u8] = &[0; 6];
                    let answer = [&frame[4..8], nothing].concat();
                    if send(&mut of_lost.lock().unwrap(), &says_nothing(answer)).is_err() {
                        break;
                    }
                    continue;
                }
                Some(Fate::Committed) => drop(of_requests.lock().unwrap().insert(frame[4..8].to_vec())),
                None => {}
            }
            if send(&mut to_server, &frame).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let mut from_server = server;
    std::thread::spawn(move || {
        while let Some(frame) = frame(&mut from_server) {
            let is_unheard = unheard.lock().unwrap().remove(&frame[..4]);
            let frame = if is_unheard { says_nothing(frame) } else { frame };
            if send(&mut answers.lock().unwrap(), &frame).is_err() {
                break;
            }
        }
        let _ = answers.lock().unwrap().shutdown(Shutdown::Both);
    });
}

/// A request or an answer without the length before it; `None`: there are no more.
fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn send(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<()> {
    let length = (frame.len() as u32).to_be_bytes();
    stream.write_all(&[&length, frame].concat())
}

/// What becomes of a request, if it is a commit and its turn has come: key, version, number, …, whether to commit.
fn fate(request: &[u8], fates: &Fates) -> Option<Fate> {
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    if number(0) != END_TXN || request.last() != Some(&1) {
        return None;
    }
    assert!(number(2) < FLEXIBLE, "the client asks in another layout: teach it to the relay");
    let mut fates = fates.lock().unwrap();
    let (before, fate) = fates.front_mut()?;
    if *before > 0 {
        *before -= 1;
        return None;
    }
    let fate = *fate;
    fates.pop_front();
    Some(fate)
}

/// An answer to a commit: number, throttling, code.
fn says_nothing(mut answer: Vec<u8>) -> Vec<u8> {
    answer[8..10].copy_from_slice(&INVALID_TXN_STATE.to_be_bytes());
    answer
}
