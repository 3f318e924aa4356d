//! Runs a plan by epochs.
