//! librdkafka's handles, callbacks and errors.
//!
//! A [`Client`] is a consumer or producer of librdkafka. Its log lines go straight to `tracing`
//! from whatever thread wrote them; what the engine must know of them (why no broker answers, which
//! record was refused, transactions that began too soon) is kept in [`Events`].

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::report::Failure;

/// What kind of client to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Consumer,
    Producer,
    /// A producer that many write with: what becomes of a record is told to its [`Ticket`].
    SharedProducer,
}

/// What a client's callbacks learnt.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// True if the user asked for librdkafka's debug lines.
    debug_wanted: bool,
    /// True for a client that is kept for questions: outages are told by whoever asks one, and by those who read and write.
    quiet: bool,
    /// Filled-in secrets: no text leaves here with one in it.
    hidden: Vec<String>,
    /// Why the last connection failed.
    broken: Mutex<Option<String>>,
    /// Why there will be no connection with these settings.
    refusal: Mutex<Option<Refusal>>,
    /// How often either side did not want the other.
    refusals: AtomicU64,
    /// The first record of a transaction that was refused.
    refused: Mutex<Option<Refused>>,
    /// How often a transaction began before the broker had finished the one before it.
    conflicts: AtomicU64,
    /// How often a broker went away or could not be reached.
    outages: AtomicU64,
}

/// Why either side does not want the other. Trying again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The cluster does not know this user, or not by this password.
    Login(String),
    /// A certificate was not accepted: the broker's by us, or ours by the broker.
    Certificate(String),
}

/// A record that could not be delivered.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub code: RDKafkaErrorCode,
    pub topic: String,
    pub partition: i32,
    pub reason: String,
}

impl Events {
    pub fn broken(&self) -> Option<String> {
        lock(&self.broken).clone()
    }

    pub fn refusal(&self) -> Option<Refusal> {
        lock(&self.refusal).clone()
    }

    /// The first reason stays: what comes after it is its consequence, said in vaguer words.
    fn refuse(&self, refusal: Refusal) {
        lock(&self.refusal).get_or_insert(refusal);
        self.refusals.fetch_add(1, Ordering::Release);
    }

    /// Grows with every refusal: one that was counted before may be over.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// The cluster has answered: whoever was refused before was let in since, and what fails now fails for another reason.
    pub fn was_let_in(&self) {
        lock(&self.refusal).take();
    }

    /// A text of librdkafka's without the secrets that it was given.
    pub fn masked(&self, text: &str) -> String {
        masked(text, &self.hidden)
    }

    /// The first refused record since the last call.
    pub fn take_refused(&self) -> Option<Refused> {
        lock(&self.refused).take()
    }

    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// Grows with every outage; that a broker is back is told by what comes from it.
    pub fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }
}

/// A text without secrets. One or two letters are no secret, but stand in every word.
pub(super) fn masked(text: &str, hidden: &[String]) -> String {
    let secrets = hidden.iter().filter(|secret| secret.len() > 2);
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The values are whole at any time: a panic elsewhere leaves nothing half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A consumer or producer of librdkafka. Dropping it waits for its threads; what it had not sent is gone.
#[derive(Debug)]
pub(super) struct Client {
    rk: *mut rd::rd_kafka_t,
    /// Its address is librdkafka's opaque pointer: kept until the handle is destroyed.
    events: Arc<Events>,
    /// Its own queue goes where records come: whoever takes these serves it.
    is_read: AtomicBool,
}

// SAFETY: librdkafka's handles may be used from any thread and from several at once.
unsafe impl Send for Client {}
// SAFETY: see above.
unsafe impl Sync for Client {}

impl Client {
    /// Makes a client; nothing is connected yet. `hidden`: what it must not say; `quiet`: see [`Events`].
    pub fn new(
        role: Role,
        settings: &BTreeMap<String, String>,
        hidden: &[String],
        quiet: bool,
    ) -> Result<Client, Failure> {
        let mut config = ClientConfig::new();
        let debug_wanted = settings.contains_key("debug");
        config.extend(settings.iter().map(|(name, value)| (name.clone(), value.clone())));
        // CONCURRENT_TRANSACTIONS is told nowhere but in these debug lines.
        if role == Role::Producer {
            config.set("debug", settings.get("debug").map_or("eos".to_owned(), |debug| format!("{debug},eos")));
        }
        let native = config.create_native_config().map_err(|error| match error {
            KafkaError::ClientConfig(_, reason, name, _) => {
                let reason = masked(&reason, hidden);
                Failure::user("kafka.property", format!("the Kafka property `{name}` cannot be used: {reason}"))
            }
            other => Failure::user("kafka.property", "the Kafka properties cannot be used")
                .because(masked(&other.to_string(), hidden)),
        })?;
        // With a callback OpenSSL would tell of certificates that the user does not want to be looked at.
        let verified = settings.get("enable.ssl.certificate.verification").is_none_or(|verified| verified != "false");
        let events = Arc::new(Events { debug_wanted, quiet, hidden: hidden.to_vec(), ..Events::default() });
        let kind = match role {
            Role::Consumer => rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Role::Producer | Role::SharedProducer => rd::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        let mut reason = [0 as c_char; 512];
        // SAFETY: the configuration is duplicated because rd_kafka_new takes it only on success; the
        // opaque pointer outlives the handle (see `Client::events`); the buffer is as long as it is said to be.
        let rk = unsafe {
            let conf = rd::rd_kafka_conf_dup(native.ptr());
            rd::rd_kafka_conf_set_opaque(conf, Arc::as_ptr(&events).cast_mut().cast());
            rd::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            rd::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            if verified {
                rd::rd_kafka_conf_set_ssl_cert_verify_cb(conf, Some(on_certificate));
            }
            match role {
                Role::Consumer => {}
                Role::Producer => rd::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery)),
                Role::SharedProducer => rd::rd_kafka_conf_set_dr_msg_cb(conf, Some(super::ticket::on_delivery)),
            }
            let rk = rd::rd_kafka_new(kind, conf, reason.as_mut_ptr(), reason.len());
            if rk.is_null() {
                rd::rd_kafka_conf_destroy(conf);
            }
            rk
        };
        if rk.is_null() {
            // SAFETY: librdkafka ends its text with a zero.
            let reason = masked(&unsafe { text(reason.as_ptr()) }, hidden);
            return Err(unreadable_file(settings).unwrap_or_else(|| {
                Failure::user("kafka.property", format!("the Kafka properties do not fit together: {reason}"))
            }));
        }
        Ok(Client { rk, events, is_read: AtomicBool::new(false) })
    }

    pub fn ptr(&self) -> *mut rd::rd_kafka_t {
        self.rk
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Its queue is forwarded to one with records. librdkafka ends the process where a record comes to a call that serves
    /// callbacks only.
    pub fn set_read(&self) {
        self.is_read.store(true, Ordering::SeqCst);
    }

    /// Serves the callbacks that wait, if that may be done here.
    pub fn hear(&self) {
        if !self.is_read.load(Ordering::SeqCst) {
            self.serve(Duration::ZERO);
        }
    }

    /// Serves callbacks for at most `timeout`.
    pub fn serve(&self, timeout: Duration) {
        // SAFETY: the handle lives.
        unsafe { rd::rd_kafka_poll(self.rk, ms(timeout)) };
    }

    /// The error that made this client useless, if one did.
    pub fn fatal_error(&self) -> Option<NativeError> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the buffer is as long as it is said to be, and ends with a zero afterwards.
        let (code, text) = unsafe {
            let code = rd::rd_kafka_fatal_error(self.rk, reason.as_mut_ptr(), reason.len());
            (code, text(reason.as_ptr()))
        };
        let code = RDKafkaErrorCode::from(code);
        (code != RDKafkaErrorCode::NoError).then_some(NativeError {
            code,
            text,
            fatal: true,
            retriable: false,
            requires_abort: false,
        })
    }
}

/// The first file among the settings that cannot be read: librdkafka says so in OpenSSL's words only.
fn unreadable_file(settings: &BTreeMap<String, String>) -> Option<Failure> {
    let files = settings.iter().filter(|(name, value)| super::properties::is_path(name, value));
    let mut unreadable = files.filter_map(|(name, path)| Some((name, path, std::fs::metadata(path).err()?)));
    unreadable.next().map(|(name, path, error)| {
        Failure::user("kafka.property", format!("the file `{path}` of the Kafka property `{name}` cannot be read"))
            .because(error)
            .hint("a relative path begins at the folder of the document that says it")
    })
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle. A consumer that was assigned by hand has no group to leave.
        unsafe { rd::rd_kafka_destroy_flags(self.rk, rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) };
    }
}

/// A reference to a client's own queue, where its errors and reports come, for a thread that serves them. It goes before
/// its client.
pub(super) struct MainQueue(*mut rd::rd_kafka_queue_t);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for MainQueue {}
// SAFETY: as above.
unsafe impl Sync for MainQueue {}

impl MainQueue {
    pub fn of(client: &Client) -> MainQueue {
        // SAFETY: the client lives, and longer than the reference.
        MainQueue(unsafe { rd::rd_kafka_queue_get_main(client.ptr()) })
    }

    /// Ends the call that serves it now, or the next one, at once.
    pub fn wake(&self) {
        // SAFETY: the queue lives.
        unsafe { rd::rd_kafka_queue_yield(self.0) };
    }
}

impl Drop for MainQueue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { rd::rd_kafka_queue_destroy(self.0) };
    }
}

/// An error of librdkafka with its flags.
#[derive(Debug, Clone)]
pub(super) struct NativeError {
    pub code: RDKafkaErrorCode,
    pub text: String,
    pub fatal: bool,
    pub retriable: bool,
    pub requires_abort: bool,
}

impl NativeError {
    /// Takes over an `rd_kafka_error_t`; null is success.
    ///
    /// # Safety
    /// `error` is null or an error that nobody else destroys.
    pub unsafe fn check(error: *mut rd::rd_kafka_error_t) -> Result<(), NativeError> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the caller hands over a live error.
        unsafe {
            let taken = NativeError {
                code: rd::rd_kafka_error_code(error).into(),
                text: text(rd::rd_kafka_error_string(error)),
                fatal: rd::rd_kafka_error_is_fatal(error) != 0,
                retriable: rd::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: rd::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            rd::rd_kafka_error_destroy(error);
            Err(taken)
        }
    }

    pub fn of_code(code: RDKafkaErrorCode) -> NativeError {
        NativeError { code, text: describe(code), fatal: false, retriable: false, requires_abort: false }
    }

    /// Turns a plain error code into a result.
    pub fn check_code(code: RDKafkaRespErr) -> Result<(), NativeError> {
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(NativeError::of_code(code)),
        }
    }
}

impl std::fmt::Display for NativeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NativeError {}

/// librdkafka's words for a code, without the prefix that says on which side of the wire it arose.
pub(super) fn describe(code: RDKafkaErrorCode) -> String {
    let Ok(code) = RDKafkaRespErr::try_from(code as i32) else { return format!("error {}", code as i32) };
    // SAFETY: the text is static.
    let whole = unsafe { text(rd::rd_kafka_err2str(code)) };
    let plain = whole.strip_prefix("Broker: ").or_else(|| whole.strip_prefix("Local: ")).unwrap_or(&whole);
    let mut letters = plain.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// # Safety
/// `pointer` is null or a string that ends with a zero.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller says so.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A string for librdkafka. Names with a zero byte are refused by Kafka anyway; they end there.
pub(super) fn c_string(text: &str) -> CString {
    let end = text.bytes().position(|byte| byte == 0).unwrap_or(text.len());
    CString::new(&text[..end]).expect("cut before its first zero byte")
}

/// Milliseconds for librdkafka, rounded up.
pub(super) fn ms(time: Duration) -> c_int {
    time.as_micros().div_ceil(1_000).min(i32::MAX as u128) as c_int
}

/// # Safety
/// Called by librdkafka with the opaque pointer of `Client::new`, which outlives the handle.
unsafe fn events<'a>(opaque: *mut c_void) -> Option<&'a Events> {
    // SAFETY: the caller says so.
    unsafe { opaque.cast::<Events>().as_ref() }
}

unsafe extern "C" fn on_log(rk: *const rd::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: librdkafka passes its handle and two strings.
    let (events, facility, line) = unsafe { (events(rd::rd_kafka_opaque(rk)), text(facility), text(line)) };
    let Some(events) = events else { return };
    // "[thrd:host:9092/bootstrap]: host:9092/bootstrap: Connect to … failed": the thread is nobody's business.
    let line = line.split_once("]: ").filter(|_| line.starts_with("[thrd:")).map_or(line.as_str(), |(_, rest)| rest);
    let line = events.masked(line);
    let line = line.as_str();
    if facility == "FAIL" {
        *lock(&events.broken) = Some(line.to_owned());
    }
    if facility == "ADDPARTS" && line.contains("concurrent") {
        events.conflicts.fetch_add(1, Ordering::Relaxed);
    }
    match (level, facility.as_str()) {
        // One set of properties serves consumers and producers: that half of it is of no use to one is no news.
        // A certificate that is not accepted is told by what fails for it.
        (_, "CONFWARN" | "SSLCERTVRFY") => tracing::debug!(target: "kafka", "{facility}: {line}"),
        // That no broker was ever reached is said by whoever wanted one, with this reason.
        (_, "FAIL") if line.contains("/bootstrap: ") => tracing::debug!(target: "kafka", "{facility}: {line}"),
        (0..=4, _) if events.quiet => tracing::debug!(target: "kafka", "{facility}: {line}"),
        (0..=2, _) => tracing::error!(target: "kafka", "{facility}: {line}"),
        (3..=4, _) => tracing::warn!(target: "kafka", "{facility}: {line}"),
        (5..=6, _) => tracing::debug!(target: "kafka", "{facility}: {line}"),
        _ if events.debug_wanted => tracing::debug!(target: "kafka", "{facility}: {line}"),
        _ => {}
    }
}

unsafe extern "C" fn on_error(_: *mut rd::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: librdkafka passes a string and our opaque pointer.
    let (events, reason) = unsafe { (events(opaque), text(reason)) };
    let Some(events) = events else { return };
    events.outages.fetch_add(1, Ordering::Relaxed);
    // That all are down is what the errors before it, with their reasons, come to.
    if code == RDKafkaErrorCode::AllBrokersDown as c_int {
        return;
    }
    let reason = events.masked(&reason);
    let login = [RDKafkaErrorCode::Authentication as c_int, RDKafkaErrorCode::SaslAuthenticationFailed as c_int];
    if login.contains(&code) && !is_cut_off(&reason) {
        events.refuse(Refusal::Login(reason));
    } else if let Some(alert) = certificate_alert(&reason) {
        events.refuse(Refusal::Certificate(alert));
    } else {
        *lock(&events.broken) = Some(reason);
    }
}

/// librdkafka calls every login a failed one whose connection ended meanwhile, as it does where a broker is restarted:
/// nobody has refused anything then.
fn is_cut_off(reason: &str) -> bool {
    ["Broker transport failure", "Timed out", "timed out", "Disconnected"].iter().any(|words| reason.contains(words))
}

/// What a broker says, in TLS's own words, that does not accept our certificate.
fn certificate_alert(reason: &str) -> Option<String> {
    let (_, alert) = reason.split_once(" alert ")?;
    let alert = alert.split(':').next().unwrap_or(alert).trim();
    let about = ["certificate", "unknown ca", "access denied", "decrypt error"];
    about.iter().any(|word| alert.contains(word)).then(|| {
        let what = if alert.contains("required") { "wants a client certificate" } else { "does not accept ours" };
        format!("the broker {what} (TLS alert: {alert})")
    })
}

unsafe extern "C" fn on_certificate(
    _: *mut rd::rd_kafka_t,
    broker: *const c_char,
    _: i32,
    error: *mut c_int,
    depth: c_int,
    _: *const c_char,
    _: usize,
    _: *mut c_char,
    _: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka passes a string, a number that it has set, and our opaque pointer.
    let (events, broker, error) = unsafe { (events(opaque), text(broker), *error) };
    if error == 0 {
        return 1;
    }
    if let Some(events) = events {
        let reason = format!("the certificate of `{broker}` {}", certificate_trouble(error, depth > 0));
        events.refuse(Refusal::Certificate(events.masked(&reason)));
    }
    0
}

/// OpenSSL's verdict on a certificate, or on one above it.
fn certificate_trouble(error: c_int, above: bool) -> String {
    let whose = if above { "is issued by one that " } else { "" };
    let what = match error {
        9 => "is not valid yet".to_owned(),
        10 => "has expired".to_owned(),
        23 => "was revoked".to_owned(),
        // Self-signed, alone or at the end of its chain, or of an issuer that is not there.
        18..=21 => return "is issued by nobody whom this connection trusts (unknown CA)".to_owned(),
        62 | 64 => "is for another host name".to_owned(),
        other => format!("is not accepted (OpenSSL's error {other})"),
    };
    format!("{whose}{what}")
}

unsafe extern "C" fn on_delivery(_: *mut rd::rd_kafka_t, message: *const rd::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: librdkafka passes a live message.
    let message = unsafe { &*message };
    // Of all records, so it must be quick for the good ones.
    if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: only `Producer::produce_noted` sets it, to a number that outlives the client.
        if let Some(newest) = unsafe { message._private.cast::<AtomicI64>().as_ref() } {
            newest.store(message.offset, Ordering::Release);
        }
        return;
    }
    // SAFETY: librdkafka passes our opaque pointer.
    let Some(events) = (unsafe { events(opaque) }) else { return };
    // SAFETY: the message lives.
    if let Some(refused) = unsafe { Refused::of(message) } {
        refused.note_in(&mut lock(&events.refused));
    }
}

impl Refused {
    /// Of a message that was not delivered. `None`: it was purged, and so refused by nobody: we took it back.
    ///
    /// # Safety
    /// The message lives, and with it its topic.
    pub unsafe fn of(message: &rd::rd_kafka_message_t) -> Option<Refused> {
        let code = RDKafkaErrorCode::from(message.err);
        if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            return None;
        }
        // SAFETY: the caller says so.
        let topic = unsafe { text(rd::rd_kafka_topic_name(message.rkt)) };
        // Not what the broker said of this record (`rd_kafka_message_produce_errstr`): librdkafka 2.12 frees that text
        // before it tells us of it.
        let reason = NativeError::of_code(code).text;
        Some(Refused { code, topic, partition: message.partition, reason })
    }

    /// Notes it as why a write was refused: the first one stays. But what good records are told that stood in a batch with
    /// a bad one says nothing, whichever of them is told first.
    pub fn note_in(self, first: &mut Option<Refused>) {
        let is_beside = |refused: &Refused| refused.code == RDKafkaErrorCode::InvalidDifferentRecord;
        if first.as_ref().is_none_or(|known| is_beside(known) && !is_beside(&self)) {
            *first = Some(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good record of a batch was told first, and the write was tried again for ever.
    #[test]
    fn the_bad_record_of_a_batch_says_why_it_was_refused() {
        use RDKafkaErrorCode::{InvalidDifferentRecord, InvalidRecord, InvalidTimestamp};
        for told in [
            [InvalidDifferentRecord, InvalidRecord],
            [InvalidRecord, InvalidDifferentRecord],
            [InvalidRecord, InvalidTimestamp],
        ] {
            let mut first = None;
            for code in told {
                Refused { code, topic: "t".into(), partition: 0, reason: String::new() }.note_in(&mut first);
            }
            assert_eq!(first.unwrap().code, InvalidRecord, "{told:?}");
        }
    }

    /// An outage after it ended the pipeline for good, as the login that was refused once.
    #[test]
    fn who_was_let_in_since_is_not_refused_any_more() {
        let events = Events::default();
        events.refuse(Refusal::Login("wrong password".into()));
        events.refuse(Refusal::Login("all brokers refuse".into()));
        assert_eq!(events.refusal(), Some(Refusal::Login("wrong password".into())));
        events.was_let_in();
        assert_eq!(events.refusal(), None);
    }

    /// A broker that was restarted between a login's question and its answer ended the pipeline for good.
    #[test]
    fn a_login_that_was_cut_off_is_not_a_refused_one() {
        assert!(is_cut_off(
            "sasl_plaintext://b:9092/1: SASL PLAIN mechanism handshake failed: Local: Broker transport failure: broker's \
             supported mechanisms: (n/a) (after 3ms in state AUTH_HANDSHAKE)"
        ));
        assert!(is_cut_off("SASL SCRAM-SHA-256 mechanism handshake failed: Local: Timed out"));
        assert!(!is_cut_off("SASL authentication error: Authentication failed: Invalid username or password"));
        assert!(!is_cut_off("Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512"));
    }
}
