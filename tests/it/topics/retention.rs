//! Records that a broker's own retention removed: whole segments, while a pipeline was stopped.

use ::runner::time::SystemClock;

use super::*;

/// It looks twice a second for segments that are older than they may be.
const LOOKS_OFTEN: &str = "log.initial.task.delay.ms=100\nlog.retention.check.interval.ms=500";
const HOUR_MS: i64 = 3_600_000;

/// Offsets 0 to 4 are read, 5 to 14 go unread, 15 and 16 are older than 4 and stay because 17 and 18 are young.
#[test]
fn i17_on_expired_decides_about_segments_that_retention_has_removed() {
    let broker = servers::Broker::start_with(LOOKS_OFTEN);
    let now = SystemClock::shared().now();
    let old = now - 3 * HOUR_MS;
    let batch = |topic: &str, records: &[(i64, i64)]| {
        let record = |(n, time): &(i64, i64)| TestRecord::to(0, format!("{{\"n\":{n}}}")).at(*time);
        servers::produce_batch(&broker.address, topic, &records.iter().map(record).collect::<Vec<_>>());
    };
    let cases = [
        ("earliest", Some(vec![0, 1, 2, 3, 4, 15, 16, 17, 18])),
        ("latest", Some(vec![0, 1, 2, 3, 4])),
        ("last_timestamp", Some(vec![0, 1, 2, 3, 4, 17, 18])),
        ("fail", None),
    ];
    let made = cases.map(|(word, wanted)| {
        let place = Place::at(&broker.address, word);
        let (topic, out) = (servers::unique(word), servers::unique("out"));
        servers::create_topic(&broker.address, &topic, 1, &[("retention.ms", "-1"), ("segment.ms", "60000")]);
        servers::create_topic(&broker.address, &out, 1, &[]);
        copied(&place, &[&topic], &out, &format!(", until: end, on_expired: {word}"));
        batch(&topic, &[0, 1, 2, 3, 4].map(|n| (n, old + n * 1_000)));
        place.apply().wait().with_code(0);
        batch(&topic, &(5..15).map(|n| (n, old + n * 1_000)).collect::<Vec<_>>());
        batch(&topic, &[(15, old + 2_000), (16, old + 3_000), (17, now), (18, now)]);
        servers::set(&broker.address, &topic, &[("retention.ms", "3600000"), ("segment.ms", "60000")]);
        (word, wanted, place, topic, out)
    });
    for (word, wanted, place, topic, out) in made {
        let deadline = Instant::now() + PATIENCE;
        while servers::first_offset(&broker.address, &topic, 0) < 15 {
            assert!(Instant::now() < deadline, "the broker removes nothing of `{topic}`");
            std::thread::sleep(Duration::from_millis(100));
        }
        let second = place.apply().wait();
        let numbers: Vec<i64> = rows_at(&broker.address, &out).iter().map(|(_, _, n)| *n).collect();
        match wanted {
            Some(wanted) => {
                let second = second.with_code(0);
                assert!(second.stderr.contains("are gone unread"), "{word}: {}", second.stderr);
                assert_eq!(numbers, wanted, "{word}");
            }
            None => {
                let second = second.with_code(3);
                assert!(second.stderr.contains("10 records of"), "{}", second.stderr);
                assert_eq!(numbers, [0, 1, 2, 3, 4]);
            }
        }
    }
}
