//! What a worker has of its own, for all its connectors.

/// The worker's part of a connector: what a config leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Class of the key converter, and its settings without prefix, of connectors that name none.
    pub key_converter: (String, Vec<(String, String)>),
    /// The same for values.
    pub value_converter: (String, Vec<(String, String)>),
    /// The same for headers.
    pub header_converter: (String, Vec<(String, String)>),
}

impl Default for Worker {
    /// As Connect's own examples: JSON with its schema.
    fn default() -> Self {
        let json = || ("org.apache.kafka.connect.json.JsonConverter".to_owned(), Vec::new());
        Worker {
            key_converter: json(),
            value_converter: json(),
            header_converter: ("org.apache.kafka.connect.storage.SimpleHeaderConverter".to_owned(), Vec::new()),
        }
    }
}
