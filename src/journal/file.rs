//! The journal of a pipeline without a Kafka sink: an fsynced file in its state directory.
