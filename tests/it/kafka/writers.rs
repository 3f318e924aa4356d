//! Writers without a journal, which share producers.

use std::collections::BTreeMap;
use std::time::Duration;

use runner::connectors::kafka::{Cluster, KafkaSink, Written};
use runner::connectors::{EpochRows, Sink, Writer};
use runner::data::Epoch;

use super::{cluster, rows, texts};
use crate::servers::{self, TestRecord};

fn alone(cluster: &Cluster, topic: &str) -> Box<dyn Writer> {
    let (topic, properties) = (topic.to_owned(), BTreeMap::new());
    KafkaSink { cluster: cluster.clone(), topic, properties, written: Written::Alone, routes: None }.open().unwrap()
}

fn epoch_rows(epoch: Epoch, texts: &[String]) -> EpochRows {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    EpochRows { epoch, outputs: rows(&texts) }
}

fn texts_at(brokers: &str, topic: &str) -> Vec<String> {
    servers::read_at(brokers, topic).iter().map(TestRecord::text).collect()
}

/// What is on its way when a broker dies is neither lost nor sent again beside itself, by none who share a producer.
#[test]
fn a_write_in_doubt_is_waited_for_and_written_once() {
    const WRITERS: usize = 4;
    let mut broker = servers::Broker::start();
    let brokers = broker.address.clone();
    let cluster = Cluster::new(brokers.clone(), BTreeMap::new()).unwrap();
    let topics: Vec<String> = (0..WRITERS).map(|number| format!("doubt-{number}")).collect();
    topics.iter().for_each(|topic| servers::create_topic(&brokers, topic, 1, &[]));
    let of = |epoch: Epoch| -> Vec<String> { (0..2_000).map(|row| format!("{epoch}:{row:0100}")).collect() };
    let writing = std::sync::atomic::AtomicBool::new(true);
    let write = |topic: &String| {
        let mut writer = alone(&cluster, topic);
        let (mut doubts, mut epoch) = (0, 0);
        while writing.load(std::sync::atomic::Ordering::SeqCst) {
            epoch += 1;
            // As a sink's worker does: the same again.
            while let Err(failure) = writer.write("l", &[epoch_rows(epoch, &of(epoch))]) {
                assert!(failure.retry, "{failure:?}");
                doubts += 1;
            }
        }
        (doubts, epoch)
    };
    let (doubts, written) = std::thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> = topics.iter().map(|topic| scope.spawn(move || write(topic))).collect();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            broker.kill();
            // Longer than a writer waits before it says so.
            std::thread::sleep(Duration::from_secs(7));
            broker.start_again();
        }
        std::thread::sleep(Duration::from_secs(2));
        writing.store(false, std::sync::atomic::Ordering::SeqCst);
        let ended: Vec<(usize, Epoch)> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (ended.iter().map(|(doubts, _)| doubts).sum::<usize>(), ended.iter().map(|(_, e)| *e).collect::<Vec<_>>())
    });
    println!("{written:?} epochs, {doubts} times in doubt");
    assert!(doubts >= 2 * WRITERS, "nobody was ever in doubt");
    for (topic, epochs) in topics.iter().zip(written) {
        let expected: Vec<String> = (1..=epochs).flat_map(of).collect();
        let found = texts_at(&brokers, topic);
        assert_eq!(found.len(), expected.len(), "{topic}");
        assert!(found == expected, "{topic}: another order");
    }
}

/// What a writer leaves on its way when it goes is the producer's, which others have.
#[test]
fn what_a_writer_left_on_its_way_is_delivered_once_and_the_next_one_goes_behind_it() {
    let mut broker = servers::Broker::start();
    let brokers = broker.address.clone();
    let cluster = Cluster::new(brokers.clone(), BTreeMap::new()).unwrap();
    ["left", "kept"].iter().for_each(|topic| servers::create_topic(&brokers, topic, 1, &[]));
    let of = |epoch: Epoch| -> Vec<String> { (0..500).map(|row| format!("{epoch}:{row}")).collect() };
    let (mut leaves, mut stays) = (alone(&cluster, "left"), alone(&cluster, "kept"));
    let write = |writer: &mut Box<dyn Writer>, epoch| writer.write("l", &[epoch_rows(epoch, &of(epoch))]);
    write(&mut leaves, 1).unwrap();
    write(&mut stays, 1).unwrap();
    broker.kill();
    let failure = write(&mut leaves, 2).unwrap_err();
    assert!(failure.retry, "{failure:?}");
    drop(leaves);
    broker.start_again();
    while write(&mut stays, 2).is_err() {}
    write(&mut alone(&cluster, "left"), 3).unwrap();
    assert_eq!(texts_at(&brokers, "left"), (1..=3).flat_map(of).collect::<Vec<_>>());
    assert_eq!(texts_at(&brokers, "kept"), (1..=2).flat_map(of).collect::<Vec<_>>());
}

/// Those that come and go share a producer with those that stay.
#[test]
fn writers_come_and_go_while_others_write() {
    let topics: Vec<String> = (0..8).map(|_| servers::topic("come-and-go", 1)).collect();
    let of = |epoch: Epoch| -> Vec<String> { (0..50).map(|row| format!("{epoch}:{row}")).collect() };
    std::thread::scope(|scope| {
        for (number, topic) in topics.iter().enumerate() {
            scope.spawn(move || {
                let mut writer = alone(&cluster(), topic);
                for epoch in 1..=60 {
                    writer.write("l", &[epoch_rows(epoch, &of(epoch))]).unwrap();
                    if number % 2 == 0 {
                        writer = alone(&cluster(), topic);
                    }
                }
            });
        }
    });
    for topic in &topics {
        assert_eq!(texts(topic), (1..=60).flat_map(of).collect::<Vec<_>>());
    }
}

/// More is given than may be on its way at once; a record that is refused ends its own writer's write only.
#[test]
fn a_large_write_keeps_its_order_and_a_refused_record_is_its_writers() {
    let (large, small) =
        (servers::topic("large-write", 1), servers::topic_with("small", 1, &[("max.message.bytes", "2000")]));
    let (mut to_large, mut to_small) = (alone(&cluster(), &large), alone(&cluster(), &small));
    let many: Vec<String> = (0..60_000).map(|row| format!("{row:0200}")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| to_large.write("l", &[epoch_rows(1, &many)]).unwrap());
        to_small.write("l", &[epoch_rows(1, &["a".into()])]).unwrap();
        let too_large: String = (0..4_000).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        let failure = to_small.write("l", &[epoch_rows(2, &["b".into(), too_large, "c".into()])]).unwrap_err();
        assert_eq!((failure.code, failure.retry), ("kafka.record_too_large", false), "{failure:?}");
        assert!(failure.to_string().contains(&small), "{failure}");
    });
    assert_eq!(texts(&large), many);
    // It may be written to again.
    to_small.write("l", &[epoch_rows(3, &["d".into()])]).unwrap();
    let small = texts(&small);
    assert!(small.starts_with(&["a".into()]) && small.ends_with(&["d".into()]), "{small:?}");
}
