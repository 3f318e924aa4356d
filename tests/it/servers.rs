//! Real servers for the tests: an Apache Kafka broker and a schema registry.
//!
//! Each is started at most once per test process, when a test first asks for it, by a script under
//! `tests/servers/`; or it is the one that `RUNNER_TEST_KAFKA` (brokers) or `RUNNER_TEST_REGISTRY`
//! (base URL) names. Where neither can be had the test fails and says what is missing.
//!
//! A server cannot outlive the tests: its script watches a pipe that the kernel closes with this process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::certificates::Certificates;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The brokers of the test cluster.
pub fn kafka() -> &'static str {
    static KAFKA: OnceLock<Result<String, String>> = OnceLock::new();
    server(&KAFKA, "RUNNER_TEST_KAFKA", "kafka.sh")
}

/// The base URL of the test registry, which has a path.
pub fn registry() -> &'static str {
    static REGISTRY: OnceLock<Result<String, String>> = OnceLock::new();
    server(&REGISTRY, "RUNNER_TEST_REGISTRY", "registry.sh")
}

fn server(slot: &'static OnceLock<Result<String, String>>, variable: &str, script: &str) -> &'static str {
    let found = slot.get_or_init(|| std::env::var(variable).or_else(|_| start_for_all(script)));
    match found {
        Ok(address) => address,
        Err(reason) => panic!("no server for this test: {reason}\n(or name a running one in {variable})"),
    }
}

/// Starts a server that lives as long as this process.
fn start_for_all(script: &str) -> Result<String, String> {
    static RUNNING: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let (child, _, address) = start(script, &[], "")?;
    // Kept for its pipe, which must stay open as long as this process lives.
    RUNNING.lock().unwrap().push(child);
    Ok(address)
}

/// Runs a script and takes its first line as the server's address. `properties`: lines of a broker's settings.
fn start(
    script: &str,
    arguments: &[&OsStr],
    properties: &str,
) -> Result<(Child, BufReader<ChildStdout>, String), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script);
    let mut command = Command::new("bash");
    command.arg(path).args(arguments).env("RUNNER_TEST_PASSWORD", PASSWORD).env("RUNNER_TEST_BROKER", properties);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("`bash` cannot be run: {error}"))?;
    let mut address = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
    stdout.read_line(&mut address).map_err(|error| error.to_string())?;
    if !address.is_empty() {
        return Ok((child, stdout, address.trim().to_owned()));
    }
    let mut said = String::new();
    child.stderr.take().expect("it is a pipe").read_to_string(&mut said).map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string())?;
    Err(format!("{script}: {}", said.trim()))
}

/// A name that no other test uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

/// A client's configuration for the test cluster.
pub fn config() -> ClientConfig {
    config_at(kafka())
}

/// The same for other brokers.
pub fn config_at(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("reconnect.backoff.max.ms", "500");
    config
}

/// A broker of one test's own, which can be killed and started again. Dropping it ends it.
pub struct Broker {
    pub address: String,
    script: Child,
    answers: BufReader<ChildStdout>,
}

impl Broker {
    pub fn start() -> Broker {
        Broker::start_with("")
    }

    /// One with these lines in its settings.
    pub fn start_with(properties: &str) -> Broker {
        let (script, answers, address) = start("kafka.sh", &[], properties).unwrap();
        Broker { address, script, answers }
    }

    /// One with the guarded listeners; also the addresses of all.
    pub fn start_guarded(certificates: &Certificates) -> (Broker, Guarded) {
        let (script, answers, addresses) = start("kafka.sh", &[certificates.folder().as_os_str()], "").unwrap();
        let addresses = Guarded::of(&addresses);
        (Broker { address: addresses.open.clone(), script, answers }, addresses)
    }

    /// Three of them as one cluster: every record is on all, and two must have it. `address` names all.
    pub fn start_three() -> Broker {
        let (script, answers, address) = start("cluster.sh", &[], "").unwrap();
        Broker { address, script, answers }
    }

    /// kill -9 for one of three, numbered from 1.
    pub fn kill_node(&mut self, node: u64) {
        self.ask(&format!("kill {node}"));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.ask("kill");
    }

    /// Starts it again where it was, on its data.
    pub fn start_again(&mut self) {
        self.ask("start");
    }

    fn ask(&mut self, request: &str) {
        writeln!(self.script.stdin.as_mut().expect("it is a pipe"), "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "done", "{request}: the broker's script has ended");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// A genuine Kafka Connect of one test's own, with a broker of its own. Dropping it ends both.
pub struct Connect {
    /// `HOST:PORT`.
    pub address: String,
    script: Child,
}

impl Connect {
    pub fn start() -> Connect {
        let (script, _, addresses) = start("connect.sh", &[], "").unwrap();
        let address = addresses.split_whitespace().last().expect("an address for each").to_owned();
        Connect { address, script }
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// Password of `alice` at the guarded listeners.
pub const PASSWORD: &str = "correct-horse-7391";

/// Listeners of a broker that demand logins and TLS.
#[derive(Clone)]
pub struct Guarded {
    /// Where nothing is demanded.
    pub open: String,
    /// SASL_PLAINTEXT.
    pub login: String,
    /// SSL.
    pub tls: String,
    /// SSL with a client certificate.
    pub mutual: String,
    /// SASL_SSL.
    pub login_tls: String,
    /// SSL with a certificate that has expired.
    pub expired: String,
    /// SSL with a certificate for another host.
    pub elsewhere: String,
}

/// A guarded broker, with certificates that were made for it.
pub struct GuardedBroker {
    at: Guarded,
    pub certificates: Certificates,
}

impl std::ops::Deref for GuardedBroker {
    type Target = Guarded;

    fn deref(&self) -> &Guarded {
        &self.at
    }
}

impl Guarded {
    fn of(addresses: &str) -> Guarded {
        let addresses: Vec<String> = addresses.split_whitespace().map(str::to_owned).collect();
        let [open, login, tls, mutual, login_tls, expired, elsewhere] =
            addresses.try_into().expect("an address for each listener");
        Guarded { open, login, tls, mutual, login_tls, expired, elsewhere }
    }
}

/// The one of this process.
pub fn guarded_kafka() -> &'static GuardedBroker {
    static BROKER: OnceLock<GuardedBroker> = OnceLock::new();
    static RUNNING: Mutex<Option<Child>> = Mutex::new(None);
    BROKER.get_or_init(|| {
        let certificates = Certificates::make();
        let (child, _, addresses) = start("kafka.sh", &[certificates.folder().as_os_str()], "").unwrap();
        *RUNNING.lock().unwrap() = Some(child);
        GuardedBroker { at: Guarded::of(&addresses), certificates }
    })
}

/// Makes a topic with a unique name.
pub fn topic(name: &str, partitions: i32) -> String {
    topic_with(name, partitions, &[])
}

/// Makes a topic with a unique name and Kafka's topic configuration.
pub fn topic_with(name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = unique(name);
    create_topic(kafka(), &name, partitions, settings);
    name
}

/// Makes a topic, on as many brokers as the cluster says.
pub fn create_topic(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let made = wait_for(admin(brokers).create_topics([&new], &AdminOptions::new().operation_timeout(Some(TIMEOUT))));
    made.unwrap()[0].as_ref().unwrap();
}

/// Gives a topic so many partitions in all.
pub fn add_partitions(topic: &str, count: usize) {
    let new = NewPartitions::new(topic, count);
    wait_for(admin(kafka()).create_partitions([&new], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
}

/// Deletes a topic.
pub fn delete_topic(name: &str) {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    wait_for(admin(kafka()).delete_topics(&[name], &options)).unwrap()[0].as_ref().unwrap();
}

/// Whether there is a topic of that name.
pub fn exists(topic: &str) -> bool {
    exists_at(kafka(), topic)
}

/// The same of other brokers.
pub fn exists_at(brokers: &str, topic: &str) -> bool {
    let consumer: BaseConsumer = config_at(brokers).create().unwrap();
    let metadata = consumer.fetch_metadata(None, TIMEOUT).unwrap();
    metadata.topics().iter().any(|found| found.name() == topic)
}

/// How many partitions a topic has; none where there is no such topic.
pub fn partitions(topic: &str) -> usize {
    let consumer: BaseConsumer = config().create().unwrap();
    let metadata = consumer.fetch_metadata(None, TIMEOUT).unwrap();
    metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len())
}

/// One of a topic's settings.
pub fn setting(topic: &str, name: &str) -> String {
    let described = wait_for(admin(kafka()).describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()));
    let config = described.unwrap().remove(0).unwrap();
    config.entry_map()[name].value.clone().unwrap()
}

/// Replaces a topic's settings.
pub fn set(brokers: &str, topic: &str, settings: &[(&str, &str)]) {
    let mut config = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (key, value) in settings {
        config = config.set(key, value);
    }
    wait_for(admin(brokers).alter_configs([&config], &AdminOptions::new())).unwrap().remove(0).unwrap();
}

/// The first offset that a partition still has.
pub fn first_offset(brokers: &str, topic: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer = config_at(brokers).create().unwrap();
    consumer.fetch_watermarks(topic, partition, TIMEOUT).unwrap().0
}

/// Removes the records of a partition below an offset, as retention would.
pub fn delete_records(topic: &str, partition: i32, before: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
    wait_for(admin(kafka()).delete_records(&list, &AdminOptions::new())).unwrap();
}

/// Removes all that is in a partition.
pub fn delete_all_records(topic: &str, partition: i32) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::End).unwrap();
    wait_for(admin(kafka()).delete_records(&list, &AdminOptions::new())).unwrap();
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    config_at(brokers).create().unwrap()
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A record to be written, or one that was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestRecord {
    /// -1 when writing: by the key.
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl TestRecord {
    /// A record for a partition.
    pub fn to(partition: i32, value: impl Into<Vec<u8>>) -> TestRecord {
        TestRecord { partition, value: Some(value.into()), ..TestRecord::default() }
    }

    pub fn at(mut self, timestamp: i64) -> TestRecord {
        self.timestamp = Some(timestamp);
        self
    }

    /// The value as text; a tombstone is `<null>`.
    pub fn text(&self) -> String {
        self.value.as_ref().map_or("<null>".into(), |value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Writes records in order, outside of any transaction.
pub fn produce(topic: &str, records: &[TestRecord]) {
    let producer: BaseProducer = config().set("linger.ms", "0").create().unwrap();
    records.iter().for_each(|record| send(&producer, topic, record));
    producer.flush(TIMEOUT).unwrap();
}

/// Writes records of one partition as one batch.
pub fn produce_batch(brokers: &str, topic: &str, records: &[TestRecord]) {
    let producer: BaseProducer = config_at(brokers).set("linger.ms", "60000").create().unwrap();
    records.iter().for_each(|record| send(&producer, topic, record));
    // Ends the wait for more.
    producer.flush(TIMEOUT).unwrap();
}

/// Writes many records fast, each with its partition: of one partition they keep their order.
pub fn produce_many(brokers: &str, topic: &str, records: impl Iterator<Item = TestRecord>) {
    let mut config = config_at(brokers);
    config.set("linger.ms", "50").set("queue.buffering.max.messages", "200000").set("enable.idempotence", "true");
    let producer: BaseProducer = config.create().unwrap();
    for (count, record) in records.enumerate() {
        send(&producer, topic, &record);
        if count % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(TIMEOUT).unwrap();
}

/// A transactional producer that has taken over its id.
pub fn transactional_producer(id: &str) -> BaseProducer {
    let producer: BaseProducer = config().set("transactional.id", id).set("linger.ms", "0").create().unwrap();
    producer.init_transactions(TIMEOUT).unwrap();
    producer
}

/// Queues a record.
pub fn send(producer: &BaseProducer, topic: &str, record: &TestRecord) {
    let mut out: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
    if record.partition >= 0 {
        out = out.partition(record.partition);
    }
    if let Some(key) = &record.key {
        out = out.key(key);
    }
    if let Some(value) = &record.value {
        out = out.payload(value);
    }
    if let Some(timestamp) = record.timestamp {
        out = out.timestamp(timestamp);
    }
    if !record.headers.is_empty() {
        let add = |headers: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
            headers.insert(Header { key: name, value: value.as_ref() })
        };
        out = out.headers(record.headers.iter().fold(OwnedHeaders::new(), add));
    }
    while let Err((error, back)) = producer.send(out) {
        assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
        producer.poll(Duration::from_millis(10));
        out = back;
    }
}

/// Everything that is committed in a topic, by partition and offset.
pub fn read(topic: &str) -> Vec<TestRecord> {
    read_at(kafka(), topic)
}

/// A record's key and value; `None`: a null.
pub type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The first records of a topic as Apache's own console consumer reads them.
pub fn consumed(topic: &str, count: usize) -> Vec<Pair> {
    consumed_at(kafka(), topic, count)
}

/// The same of other brokers.
pub fn consumed_at(brokers: &str, topic: &str, count: usize) -> Vec<Pair> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/consume.sh");
    let mut command = Command::new("bash");
    let output = command.arg(script).args([brokers, topic, &count.to_string()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let bytes = |text: &str| (text != "null").then(|| unescaped(text));
    let pair = |line: &str| line.split_once('\t').map(|(key, value)| (bytes(key), bytes(value))).expect(line);
    said.lines().map(pair).collect()
}

/// How far a group is, as Apache's own kafka-consumer-groups shows it: by topic and partition its offset, the end, and the lag.
pub fn group(name: &str) -> BTreeMap<(String, i32), [String; 3]> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/groups.sh");
    let output = Command::new("bash").arg(script).args([kafka(), name]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_partition = |words: Vec<&str>| match words.as_slice() {
        [group, topic, partition, at, end, lag, ..] if *group == name => {
            let partition = partition.parse().expect(partition);
            Some((((*topic).to_owned(), partition), [*at, *end, *lag].map(str::to_owned)))
        }
        _ => None,
    };
    lines.filter_map(of_partition).collect()
}

/// `\x41` and printable ASCII as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (byte, plain) = part.split_at(2);
        bytes.push(u8::from_str_radix(byte, 16).expect(text));
        bytes.extend_from_slice(plain.as_bytes());
    }
    bytes
}

/// A broker writes the markers of a transaction at once, but for a machine that is very busy.
const MARKERS_WITHIN: Duration = Duration::from_secs(5);

/// Everything that is committed in a topic of other brokers.
pub fn read_at(brokers: &str, topic: &str) -> Vec<TestRecord> {
    let mut config = config_at(brokers);
    config.set("group.id", "test").set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    // As of now: one that is written all the time would never be at its end.
    let uncommitted: BaseConsumer = config_at(brokers).set("isolation.level", "read_uncommitted").create().unwrap();
    let ends: Vec<i64> = (0..partitions as i32).map(|of| committed_end(&consumer, &uncommitted, topic, of)).collect();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let mut ended = BTreeSet::new();
    let mut records = Vec::new();
    while ended.len() < partitions {
        match consumer.poll(TIMEOUT).expect("the broker answers") {
            Err(KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
            // A topic that was made a moment ago is known before it can be read.
            Err(error) if is_too_new(&error) && Instant::now() < deadline => {}
            // One of several brokers is gone, or all of them are for a moment: the client tries again.
            Err(error) if is_away(&error) && Instant::now() < deadline => {}
            Err(error) => panic!("{topic} cannot be read: {error}"),
            Ok(message) => {
                if message.offset() + 1 >= ends[message.partition() as usize] {
                    ended.insert(message.partition());
                }
                records.push(TestRecord {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp: message.timestamp().to_millis(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map(headers_of).unwrap_or_default(),
                });
            }
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// Where what is committed ends. A transaction is committed before its marker is in each of its partitions, and until then
/// its records are not given to this consumer: they are waited for, but not one that a dead producer left open.
fn committed_end(committed: &BaseConsumer, uncommitted: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let end = |of: &BaseConsumer| of.fetch_watermarks(topic, partition, TIMEOUT).map_or(i64::MAX, |(_, end)| end);
    let last = end(uncommitted);
    let deadline = Instant::now() + MARKERS_WITHIN;
    loop {
        let end = end(committed);
        if end >= last || Instant::now() >= deadline {
            return end;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_away(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
    matches!(error.rdkafka_error_code(), Some(BrokerTransportFailure | AllBrokersDown))
}

fn is_too_new(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::*;
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(UnknownTopicOrPartition | UnknownTopic | UnknownPartition | LeaderNotAvailable | NotLeaderForPartition)
    )
}

fn headers_of(headers: &impl Headers) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

#[test]
fn the_registry_answers() {
    let (host, path) = registry().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path}/subjects HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
