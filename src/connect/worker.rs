//! What a worker has of its own, for all its connectors.

use std::net::ToSocketAddrs;

use serde_json::Value as Json;

/// The worker's part of a connector: what a config leaves out.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Class of the key converter, and its settings without prefix, of connectors that name none.
    pub key_converter: (String, Vec<(String, String)>),
    /// The same for values.
    pub value_converter: (String, Vec<(String, String)>),
    /// The same for headers.
    pub header_converter: (String, Vec<(String, String)>),
    /// Settings of the producers of connectors, and of the consumers, by the names that Java's clients have for them.
    pub producer: Vec<(String, String)>,
    pub consumer: Vec<(String, String)>,
    /// The connection `default`, as it stands in a document (`{"kafka": …, "registry": …}`); `None`: the built-in one.
    pub connection: Option<Json>,
    /// Whether a host (`host:port`) is known here by this name.
    pub resolves: fn(&str) -> bool,
}

impl Default for Worker {
    /// As Connect's own examples: JSON with its schema.
    fn default() -> Self {
        let json = || ("org.apache.kafka.connect.json.JsonConverter".to_owned(), Vec::new());
        Worker {
            key_converter: json(),
            value_converter: json(),
            header_converter: ("org.apache.kafka.connect.storage.SimpleHeaderConverter".to_owned(), Vec::new()),
            producer: Vec::new(),
            consumer: Vec::new(),
            connection: None,
            resolves: |host| host.to_socket_addrs().is_ok(),
        }
    }
}

impl Worker {
    /// Whether the host of a URL is known here. Names of a container's neighbours are often not.
    pub(super) fn knows(&self, url: &str) -> bool {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let port = if scheme == "https" { 443 } else { 80 };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        (self.resolves)(&if has_port { host.to_owned() } else { format!("{host}:{port}") })
    }
}
