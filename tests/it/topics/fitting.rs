//! Topics that come to fit a pattern while a pipeline runs.

use super::*;

/// At least once: what a run that fails has delivered and not noted would come again.
#[test]
fn a_topic_that_comes_to_fit_is_read_without_a_failure_and_without_a_repeat() {
    let place = Place::new("fitting");
    let (prefix, out) = (servers::unique("fits"), servers::topic("fitted", 1));
    let topics = ["a", "b"].map(|name| format!("{prefix}-{name}"));
    servers::create_topic(servers::kafka(), &topics[0], 1, &[]);
    place.spec(&format!(
        "  state: {{ journal: file }}
  sources:
    rows: {{ kafka: {{ pattern: '{prefix}-.*' }}, format: json, columns: {{ n: int }} }}
  transforms:
    placed: {{ from: rows, select: {{ topic: _topic, p: _partition, n: n }} }}
  sinks:
    out: {{ from: placed, kafka: {{ topic: {out} }}, format: json, delivery: at_least_once }}
"
    ));
    let running = place.apply();
    let until = |count: usize| {
        let deadline = Instant::now() + PATIENCE;
        while rows(&out).len() < count {
            assert!(Instant::now() < deadline, "{} rows\n{}", rows(&out).len(), running.stderr());
            // Records come all the time, so that some are on their way when the topic comes.
            numbered(&topics[0], 0, 0..20);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until(40);
    servers::create_topic(servers::kafka(), &topics[1], 1, &[]);
    numbered(&topics[1], 0, 0..5);
    running.wait_stderr("there is more to read");
    let deadline = Instant::now() + PATIENCE;
    while rows(&out).iter().filter(|(topic, ..)| *topic == topics[1]).count() < 5 {
        assert!(Instant::now() < deadline, "{}", running.stderr());
        numbered(&topics[0], 0, 20..40);
        std::thread::sleep(Duration::from_millis(100));
    }
    // All of it, and nothing twice.
    let counts = || topics.each_ref().map(|topic| rows(&out).iter().filter(|(from, ..)| from == topic).count());
    let written = topics.each_ref().map(|topic| servers::read(topic).len());
    let deadline = Instant::now() + PATIENCE;
    while counts().iter().zip(&written).any(|(copied, written)| copied < written) {
        assert!(Instant::now() < deadline, "{:?} of {written:?}\n{}", counts(), running.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(libc::SIGINT);
    let ended = running.wait().with_code(0);
    assert_eq!(counts(), written, "{}", ended.stderr);
}
