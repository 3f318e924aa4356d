//! Where a Kafka cluster is and how to talk to it.
//!
//! Settings come from three hands: what the engine needs for its guarantees (cannot be changed, see
//! `properties`), the user's `properties`, and defaults of ours that the user may override.

use std::collections::BTreeMap;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::native::{Client, NativeError, Role};
use crate::report::Failure;

/// A cluster and librdkafka's properties for it. Printing it hides secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// librdkafka's names and values, checked by [`super::Properties`] or [`Cluster::new`].
    pub properties: BTreeMap<String, String>,
}

impl Cluster {
    /// # Errors
    /// A failure of the user's for a property that librdkafka does not know or that would break a guarantee.
    pub fn new(brokers: impl Into<String>, properties: BTreeMap<String, String>) -> Result<Cluster, Failure> {
        for (name, value) in &properties {
            if let Some(wrong) = super::properties::check(name, value) {
                let failure = Failure::user(wrong.code, wrong.title);
                return Err(match wrong.hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
            }
        }
        Ok(Cluster { brokers: brokers.into(), properties })
    }

    /// The same cluster with further properties, those of a source or sink, which win.
    pub fn with(&self, properties: &BTreeMap<String, String>) -> Cluster {
        let mut all = self.properties.clone();
        all.extend(properties.clone());
        Cluster { brokers: self.brokers.clone(), properties: all }
    }

    /// Makes a client: `defaults` yield to the user's properties, `fixed` do not.
    pub(super) fn client(
        &self,
        role: Role,
        defaults: &[(&str, &str)],
        fixed: &[(&str, &str)],
    ) -> Result<Client, Failure> {
        let owned = |settings: &[(&str, &str)]| {
            settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
        };
        let mut all: BTreeMap<String, String> = owned(defaults).into_iter().collect();
        all.extend(self.properties.clone());
        all.extend(owned(fixed));
        all.insert("bootstrap.servers".into(), self.brokers.clone());
        all.entry("client.id".into()).or_insert_with(|| "runner".into());
        // A broker that was away is back within a second, not within ten.
        all.entry("reconnect.backoff.max.ms".into()).or_insert_with(|| "1000".into());
        Client::new(role, &all)
    }

    /// `kafka.unreachable`, with the reason that the client's log gave.
    pub(super) fn unreachable(&self, client: &Client) -> Failure {
        client.serve(std::time::Duration::ZERO);
        if let Some(reason) = client.events().locked_out() {
            return self.locked_out(reason);
        }
        let failure = Failure::outside("kafka.unreachable", format!("no Kafka broker answers at `{}`", self.brokers));
        let failure = match client.events().broken() {
            Some(reason) => failure.because(plain_reason(&reason)),
            None => failure,
        };
        failure.hint("is the broker running, and is this its address?")
    }

    pub(super) fn locked_out(&self, reason: String) -> Failure {
        Failure::user("kafka.authentication", format!("the Kafka cluster at `{}` does not let us in", self.brokers))
            .because(reason)
            .hint("check `security.protocol`, `sasl.mechanism`, `sasl.username` and `sasl.password` of the connection")
    }

    /// What a librdkafka error means to a user; `doing` completes "cannot …".
    pub(super) fn failure(&self, client: &Client, doing: &str, error: NativeError) -> Failure {
        match error.code {
            Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut => {
                self.unreachable(client)
            }
            Code::Authentication | Code::SaslAuthenticationFailed => self.locked_out(error.text),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => {
                Failure::user("kafka.not_allowed", format!("not allowed to {doing} at `{}`", self.brokers))
                    .because(error)
                    .hint("the cluster's access rules (ACLs) forbid it for this user")
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                Failure::user("kafka.unknown_topic", format!("cannot {doing}: it does not exist at `{}`", self.brokers))
                    .because(error)
            }
            _ => Failure::outside("kafka.broker", format!("cannot {doing} at `{}`", self.brokers)).because(error),
        }
    }
}

/// "here:9092/bootstrap: Connect to … failed: refused (after 0ms in state CONNECT)" without what is said already
/// and what is of no use.
fn plain_reason(reason: &str) -> String {
    let reason = reason.split_once("/bootstrap: ").map_or(reason, |(_, rest)| rest);
    reason.split_once(" (after ").map_or(reason, |(said, _)| said).to_owned()
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |(name, value): (&String, &String)| {
            let secret =
                ["password", "secret", "pem", "token", "jaas", "config"].iter().any(|word| name.contains(word));
            format!("{name}={}", if secret { "…" } else { value })
        };
        let properties: Vec<String> = self.properties.iter().map(shown).collect();
        f.debug_struct("Cluster").field("brokers", &self.brokers).field("properties", &properties).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_happened_and_nothing_else() {
        let reason = "here:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)";
        assert_eq!(plain_reason(reason), "Connect to ipv4#127.0.0.1:9092 failed: Connection refused");
        assert_eq!(plain_reason("timed out"), "timed out");
    }

    #[test]
    fn printing_a_cluster_hides_its_secrets() {
        let properties = BTreeMap::from([
            ("sasl.password".to_owned(), "hunter2".to_owned()),
            ("sasl.username".to_owned(), "me".to_owned()),
        ]);
        let printed = format!("{:?}", Cluster::new("here:9092", properties).unwrap());
        assert!(!printed.contains("hunter2") && printed.contains("sasl.username=me"), "{printed}");
    }

    #[test]
    fn properties_of_a_sink_win_over_those_of_its_cluster() {
        let one = |value: &str| BTreeMap::from([("linger.ms".to_owned(), value.to_owned())]);
        let cluster = Cluster::new("here:9092", one("5")).unwrap();
        assert_eq!(cluster.with(&one("7")).properties, one("7"));
    }
}
