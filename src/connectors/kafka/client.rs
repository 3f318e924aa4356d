//! Where a Kafka cluster is and how to talk to it.
//!
//! Settings come from three hands: what the engine needs for its guarantees (cannot be changed, see
//! `properties`), the user's `properties`, and defaults of ours that the user may override.

use std::collections::BTreeMap;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::native::{Client, NativeError, Refusal, Role, masked};
use super::properties::canonical;
use crate::report::Failure;

/// A cluster and librdkafka's properties for it. Printing it hides secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// The connection's name, for people; empty: none of its own.
    pub connection: String,
    /// `host:port`, several with commas.
    pub brokers: String,
    /// librdkafka's names and values, checked by [`super::Properties`] or [`Cluster::new`].
    pub properties: BTreeMap<String, String>,
    /// Secrets among these, filled in: they stand in no message and no log line.
    pub hidden: Vec<String>,
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
        Ok(Cluster { brokers: brokers.into(), properties, ..Cluster::default() })
    }

    /// The same cluster with further properties, those of a source or sink, which win.
    pub fn with(&self, properties: &BTreeMap<String, String>) -> Cluster {
        let mut all = self.properties.clone();
        all.extend(properties.clone());
        Cluster { properties: all, ..self.clone() }
    }

    /// "`host:9092`, connection `default`,": where something happened.
    /// Its brokers, without what was filled in as a secret.
    pub(super) fn shown(&self) -> String {
        masked(&self.brokers, &self.hidden)
    }

    fn place(&self) -> String {
        let brokers = self.shown();
        match self.connection.as_str() {
            "" => format!("`{brokers}`"),
            connection => format!("`{brokers}` (connection `{connection}`)"),
        }
    }

    /// Makes a client: `defaults` yield to the user's properties, `fixed` do not.
    pub(super) fn client(
        &self,
        role: Role,
        defaults: &[(&str, &str)],
        fixed: &[(&str, &str)],
    ) -> Result<Client, Failure> {
        self.make_client(role, defaults, fixed, false)
    }

    /// The same for one that is kept to ask questions: it tells nobody of outages by itself.
    pub(super) fn quiet_client(&self, fixed: &[(&str, &str)]) -> Result<Client, Failure> {
        self.make_client(Role::Consumer, &[], fixed, true)
    }

    fn make_client(
        &self,
        role: Role,
        defaults: &[(&str, &str)],
        fixed: &[(&str, &str)],
        quiet: bool,
    ) -> Result<Client, Failure> {
        let owned = |settings: &[(&str, &str)]| {
            settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
        };
        // To librdkafka both names of a property are one: which of two values it keeps would be left to chance.
        let is_given = |name: &str| self.properties.keys().any(|given| canonical(given) == canonical(name));
        let mut all: BTreeMap<String, String> =
            owned(defaults).into_iter().filter(|(name, _)| !is_given(name)).collect();
        all.extend(self.properties.clone());
        all.extend(owned(fixed));
        all.insert("bootstrap.servers".into(), self.brokers.clone());
        all.entry("client.id".into()).or_insert_with(|| "runner".into());
        if !all.contains_key("reconnect.backoff.max.ms") {
            // A broker that was away is back within a second, not within ten.
            all.insert("reconnect.backoff.max.ms".into(), "1000".into());
            // Half of it is also what librdkafka waits between its first connection, to the address that it was given,
            // and the one to the broker that it finds there: 50 ms by default, for every client.
            all.entry("reconnect.backoff.ms".into()).or_insert_with(|| "20".into());
        }
        let ours = |name: &String| name.starts_with("ssl.ca.");
        if !all.keys().any(ours) && all.get("security.protocol").is_some_and(|p| p.to_lowercase().ends_with("ssl")) {
            // OpenSSL is built in and knows no folder of this system's certificates.
            all.insert("ssl.ca.location".into(), "probe".into());
        }
        Client::new(role, &all, &self.hidden, quiet)
    }

    /// `kafka.unreachable`, with the reason that the client's log gave; or why there is no way in.
    pub(super) fn unreachable(&self, client: &Client) -> Failure {
        client.hear();
        if let Some(refusal) = client.events().refusal() {
            return self.refused(refusal);
        }
        self.away(client)
    }

    /// The same where it is known that nobody was refused since it was last let in.
    pub(super) fn away(&self, client: &Client) -> Failure {
        let failure = Failure::outside("kafka.unreachable", format!("no Kafka broker answers at {}", self.place()));
        let Some(reason) = client.events().broken() else {
            return failure.hint("is the broker running, is this its address, and does a firewall let us through?");
        };
        let (reason, hint) = self.plain_reason(&reason);
        failure.because(reason).hint(hint)
    }

    /// Neither waiting nor trying again helps: the settings of one side must change.
    pub(super) fn refused(&self, refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Login(reason) => {
                let title = format!("the Kafka cluster at {} does not let us in", self.place());
                // A broker says this, in its way, to a login where none is wanted.
                let (reason, hint) = match reason.contains("not valid in current SASL state") {
                    true => {
                        ("no login is wanted at this port".to_owned(), "`security.protocol` is `plaintext` or `ssl`")
                    }
                    false => (self.plain_reason(&reason).0, LOGIN_HINT),
                };
                Failure::user("kafka.authentication", title).because(reason).hint(hint)
            }
            Refusal::Certificate(reason) => {
                let title = format!("no TLS connection to the Kafka cluster at {}", self.place());
                let ours = ["ssl.certificate.", "ssl.keystore."];
                let has_ours = self.properties.keys().any(|name| ours.iter().any(|ours| name.starts_with(ours)));
                let reason = match has_ours {
                    true => reason,
                    // Brokers in Java say "bad certificate" of none.
                    false => reason.replace("does not accept ours", "wants a client certificate"),
                };
                let hint = certificate_hint(&reason);
                Failure::user("kafka.certificate", title).because(reason).hint(hint)
            }
        }
    }

    /// "here:9092/bootstrap: Connect to … failed: refused (after 0ms in state CONNECT)" without what is said already
    /// and what is of no use; and what to do about it.
    fn plain_reason(&self, reason: &str) -> (String, &'static str) {
        let reason = reason.split_once("/bootstrap: ").map_or(reason, |(_, rest)| rest);
        let (said, state) = reason.split_once(" (after ").unwrap_or((reason, ""));
        let protocol = self.properties.get("security.protocol").map(|protocol| protocol.to_lowercase());
        let protocol = protocol.as_deref().unwrap_or("plaintext");
        let hung_up = ["Disconnected", "reset by peer", "Broken pipe"].iter().any(|words| said.contains(words));
        let is_up = state.contains("in state UP") || state.contains("in state APIVERSION_QUERY");
        // What is said depends on whether the hello or its answer met the closed connection.
        let no_handshake = said.contains("SSL handshake failed: Disconnected")
            || (said.contains("SSL connection closed by peer") && !is_up);
        if no_handshake || said.contains("wrong version number") {
            return (
                "it does not answer as TLS does".into(),
                "is this the port for TLS? without TLS `security.protocol` is `plaintext` or `sasl_plaintext`",
            );
        }
        if hung_up && state.contains("in state APIVERSION_QUERY") && !protocol.ends_with("ssl") {
            return (
                "it hangs up on a client without TLS".into(),
                "if this port speaks TLS, say `security.protocol: ssl`, or `sasl_ssl`, in the connection's `properties`",
            );
        }
        if hung_up && state.contains("in state UP") && !protocol.starts_with("sasl") {
            return (
                "it hangs up on a client that does not log in".into(),
                "if it wants a login, say `security.protocol: sasl_ssl` (or `sasl_plaintext`), `sasl.mechanism`, `sasl.username` and `sasl.password`",
            );
        }
        let hint = match said.contains("Failed to resolve") {
            true => "correct the name of the host, or wait until it is known here",
            false => "is the broker running, and is this its address?",
        };
        (said.to_owned(), hint)
    }

    /// What a librdkafka error means to a user; `doing` completes "cannot …".
    pub(super) fn failure(&self, client: &Client, doing: &str, error: NativeError) -> Failure {
        let error = NativeError { text: masked(&error.text, &self.hidden), ..error };
        let at = self.place();
        match error.code {
            Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut => {
                self.unreachable(client)
            }
            Code::Authentication | Code::SaslAuthenticationFailed => self.refused(Refusal::Login(error.text)),
            Code::SSL => self.unreachable(client),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => {
                Failure::user("kafka.not_allowed", format!("not allowed to {doing} at {at}"))
                    .because(error)
                    .hint("the cluster's access rules (ACLs) forbid it for this user")
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                Failure::user("kafka.unknown_topic", format!("cannot {doing}: it does not exist at {at}"))
                    .because(error)
            }
            _ => Failure::outside("kafka.broker", format!("cannot {doing} at {at}")).because(error),
        }
    }
}

const LOGIN_HINT: &str =
    "check `security.protocol`, `sasl.mechanism`, `sasl.username` and `sasl.password` of the connection";

fn certificate_hint(reason: &str) -> &'static str {
    if reason.contains("unknown CA") {
        "name the file with the certificate of its CA: `ssl.ca.location: ca.pem`, or the text itself: `ssl.ca.pem`"
    } else if reason.contains("host name") {
        "`brokers`, and what the brokers advertise, must be names that stand in their certificates"
    } else if reason.contains("TLS alert") {
        "check `ssl.certificate.location` and `ssl.key.location`, or `ssl.certificate.pem` and `ssl.key.pem`"
    } else {
        "its operators must renew it; is the clock of this machine right?"
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.properties.keys().collect();
        let brokers = masked(&self.brokers, &self.hidden);
        f.debug_struct("Cluster").field("brokers", &brokers).field("properties", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_what_happened_and_nothing_else() {
        let reason = "here:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)";
        let plain_reason = |reason| Cluster::default().plain_reason(reason).0;
        assert_eq!(plain_reason(reason), "Connect to ipv4#127.0.0.1:9092 failed: Connection refused");
        assert_eq!(plain_reason("timed out"), "timed out");
        let hung_up = "here:9092/bootstrap: Disconnected: connection closed by peer (after 1ms in state UP)";
        assert_eq!(plain_reason(hung_up), "it hangs up on a client that does not log in");
    }

    #[test]
    fn a_hello_that_nobody_answers_is_told_however_the_connection_ended() {
        let plain_reason = |reason: String| Cluster::default().plain_reason(&reason).0;
        let closed =
            |state| format!("ssl://b:9092/1: Disconnected: SSL connection closed by peer (after 2ms in state {state})");
        assert_eq!(plain_reason(closed("SSL_HANDSHAKE")), "it does not answer as TLS does");
        assert_ne!(plain_reason(closed("UP")), "it does not answer as TLS does", "it was restarted");
    }

    #[test]
    fn printing_a_cluster_hides_its_secrets() {
        let properties = BTreeMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]);
        let cluster = Cluster::new("here.hunter2.example:9092", properties).unwrap();
        let cluster = Cluster { hidden: vec!["hunter2".into()], connection: "c".into(), ..cluster };
        let printed = format!("{cluster:?} {}", cluster.place());
        assert!(!printed.contains("hunter2") && printed.contains("sasl.password"), "{printed}");
        assert!(printed.ends_with(" `here.….example:9092` (connection `c`)"), "{printed}");
    }

    #[test]
    fn properties_of_a_sink_win_over_those_of_its_cluster() {
        let one = |value: &str| BTreeMap::from([("linger.ms".to_owned(), value.to_owned())]);
        let cluster = Cluster::new("here:9092", one("5")).unwrap();
        assert_eq!(cluster.with(&one("7")).properties, one("7"));
    }
}
