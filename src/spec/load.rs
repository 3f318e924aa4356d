//! From paths to documents: every file, every document, every error in one run.

use std::path::PathBuf;

use super::documents::Documents;
use super::template::Values;
use crate::report::Diagnostics;

/// Reads files, and folders with all their *.yaml and *.yml, into documents.
///
/// Errors of all files are in the diagnostics; a document with an error is not among the documents.
pub fn load(paths: &[PathBuf], values: &Values) -> (Documents, Diagnostics) {
    let _ = (paths, values);
    unimplemented!("comes with the next commit")
}
