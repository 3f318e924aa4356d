//! What was found, for people and programs.

use crate::data::{Offset, Partition};

/// So many places of a finding are named.
pub const EXAMPLES: usize = 10;

/// One kind of thing that is wrong, or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub count: u64,
    /// Places of the first of them, in words.
    pub examples: Vec<String>,
}

impl Finding {
    pub fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// What a comparison found. Only [`Report::is_clean`] says whether all is well.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// What was compared, and by what.
    pub what: String,
    /// Committed records of the source.
    pub read: u64,
    /// Records that the sink should have.
    pub expected: u64,
    /// Committed records that it has.
    pub found: u64,
    /// Expected, not there, although later ones of its source partition are.
    pub gaps: Finding,
    /// Expected, not there, and nothing later of its source partition is: lost, or not yet written.
    pub behind: Finding,
    /// There more than once.
    pub duplicates: Finding,
    /// There, and not expected.
    pub unexpected: Finding,
    /// Without a readable provenance.
    pub unidentified: Finding,
    /// Behind a later record of its source partition.
    pub disorder_by_partition: Finding,
    /// Behind a later record of its key, or in another partition than it.
    pub disorder_by_key: Finding,
    /// Earlier than the record before it.
    pub disorder_by_time: Finding,
    /// Expected and not there, but the sink is compacted and has a later record of the key: no finding.
    pub compacted: u64,
    /// There, of records that the source no longer has (or, compacted, may no longer have): only doublings and order
    /// could be looked at.
    pub gone: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Everything that can be wrong, by name. `live`: what is behind may still come.
    pub fn findings(&self, live: bool) -> Vec<(&'static str, &Finding)> {
        let mut all = vec![
            ("gaps", &self.gaps),
            ("behind", &self.behind),
            ("duplicates", &self.duplicates),
            ("unexpected", &self.unexpected),
            ("unidentified", &self.unidentified),
            ("out of order by partition", &self.disorder_by_partition),
            ("out of order by key", &self.disorder_by_key),
            ("out of order by time", &self.disorder_by_time),
        ];
        all.retain(|(name, finding)| finding.count > 0 && !(live && *name == "behind"));
        all
    }

    pub fn is_clean(&self, live: bool) -> bool {
        self.findings(live).is_empty()
    }
}

/// Ranges of offsets of one partition, of which the first are named.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    count: u64,
    shown: Vec<(Offset, Offset)>,
}

impl Ranges {
    pub fn add(&mut self, offset: Offset) {
        self.count += 1;
        let room = self.shown.len() < EXAMPLES;
        match self.shown.last_mut() {
            Some((_, end)) if *end == offset => *end += 1,
            _ if room => self.shown.push((offset, offset + 1)),
            _ => {}
        }
    }

    /// Adds them to a finding.
    pub fn into_finding(self, topic: &str, partition: Partition, finding: &mut Finding) {
        finding.count += self.count;
        for (start, end) in self.shown {
            if finding.examples.len() >= EXAMPLES {
                break;
            }
            finding.examples.push(match end - start {
                1 => format!("{} offset {start}", partition_of(topic, partition)),
                _ => format!("{} offsets {start} to {}", partition_of(topic, partition), end - 1),
            });
        }
    }
}

/// "partition 0 of `ratings`".
pub fn partition_of(topic: &str, partition: Partition) -> String {
    format!("partition {partition} of `{topic}`")
}
