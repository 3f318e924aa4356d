//! Topics that records name themselves: how one is made that is met for the first time.

use std::collections::BTreeMap;

use super::options::NewTopics;
use super::topics::NewTopic;
use crate::kafka_connect::transforms::whole_regex;
use crate::report::{Diagnostic, Diagnostics};

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
            if let Err(why) = whole_regex(&pattern.value) {
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
    pub fn new_topic(&self, name: &str) -> NewTopic {
        // A topic is new once: its patterns are compiled then.
        let fits = |patterns: &[String]| {
            patterns.iter().any(|pattern| whole_regex(pattern).is_ok_and(|regex| regex.is_match(name)))
        };
        let holds = |rule: &&Rule| (rule.topics.is_empty() || fits(&rule.topics)) && !fits(&rule.except);
        let Rule { partitions, replication, config, .. } = self.0.iter().find(holds).cloned().unwrap_or_default();
        NewTopic { name: name.to_owned(), partitions, replication, config }
    }
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
        let partitions = |name: &str| routes.new_topic(name).partitions;
        assert_eq!(
            [partitions("a1"), partitions("b"), partitions("ab"), partitions("bb")],
            [Some(3), Some(3), Some(5), Some(5)]
        );
        assert_eq!((partitions("none"), Routes::default().new_topic("x").partitions), (None, None));
    }
}
