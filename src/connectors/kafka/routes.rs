//! Topics that records name themselves: how one is made that is met for the first time.

use std::collections::BTreeMap;

use super::options::NewTopics;
use super::topics::NewTopic;
use crate::kafka_connect::pattern::{Excess, Pattern};
use crate::report::{Diagnostic, Diagnostics, Failure};

/// Rules for new topics; the first one whose patterns a name fits holds. Without any the broker's defaults do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Rule {
    topics: Vec<String>,
    except: Vec<String>,
    partitions: Option<u32>,
    replication: Option<u32>,
    config: BTreeMap<String, String>,
}

impl Routes {
    /// Rules as they were written.
    pub fn of(written: &[NewTopics], out: &mut Diagnostics) -> Option<Routes> {
        let mut are_good = true;
        for pattern in written.iter().flat_map(|rule| rule.topics.iter().chain(&rule.except)) {
            if let Err(why) = Pattern::new(&pattern.value) {
                are_good = false;
                let title = format!("`{}` is no regex", pattern.value);
                out.push(Diagnostic::error("kafka.pattern", title).at(&pattern.place).note(why));
            }
        }
        let rule = |rule: &NewTopics| Rule {
            topics: rule.topics.iter().map(|pattern| pattern.value.clone()).collect(),
            except: rule.except.iter().map(|pattern| pattern.value.clone()).collect(),
            partitions: rule.partitions.map(|count| count.number()),
            replication: rule.replication.map(|count| count.number()),
            config: rule.config.iter().map(|(name, value)| (name.value.clone(), value.0.clone())).collect(),
        };
        are_good.then(|| Routes(written.iter().map(rule).collect()))
    }

    /// How a topic of this name is made.
    ///
    /// # Errors
    /// [`Failure`] (user): a pattern that takes too long to say whether the name fits.
    pub fn new_topic(&self, name: &str) -> Result<NewTopic, Failure> {
        let mut found = Rule::default();
        for rule in &self.0 {
            if (rule.topics.is_empty() || fits(&rule.topics, name)?) && !fits(&rule.except, name)? {
                found = rule.clone();
                break;
            }
        }
        let Rule { partitions, replication, config, .. } = found;
        Ok(NewTopic { name: name.to_owned(), partitions, replication, config })
    }
}

/// A topic is new once: its patterns are compiled then.
fn fits(patterns: &[String], name: &str) -> Result<bool, Failure> {
    let mut known = patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok());
    known.try_fold(false, |fits, pattern| Ok(fits || pattern.fits(name).map_err(too_far)?))
}

/// Nobody can say whether a topic is meant.
pub fn too_far(excess: Excess) -> Failure {
    Failure::user("kafka.pattern", excess.to_string()).hint("write it without one repetition within another")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_a_name_fits_says_how_its_topic_is_made() {
        let rule = |topics: &[&str], except: &[&str], partitions| Rule {
            topics: topics.iter().map(|text| (*text).to_owned()).collect(),
            except: except.iter().map(|text| (*text).to_owned()).collect(),
            partitions: Some(partitions),
            ..Rule::default()
        };
        let routes = Routes(vec![rule(&["a.*", "b"], &["ab"], 3), rule(&[], &["none"], 5)]);
        let partitions = |name: &str| routes.new_topic(name).unwrap().partitions;
        assert_eq!(
            [partitions("a1"), partitions("b"), partitions("ab"), partitions("bb")],
            [Some(3), Some(3), Some(5), Some(5)]
        );
        assert_eq!((partitions("none"), Routes::default().new_topic("x").unwrap().partitions), (None, None));
    }
}
