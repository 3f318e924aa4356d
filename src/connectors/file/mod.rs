//! Files: records from and to lines of text.
//!
//! [`FileSource`] reads the files that a path or pattern names, one after another, as one partition
//! that ends; [`FollowedFile`] one file to which lines are added. [`FileSink`] appends to one file, exactly once: a sidecar beside it remembers the
//! epoch and the length that belongs to it, and what is behind that length is cut off. [`AppendedFile`] appends at least once, to a file that others
//! may write, too.

mod appended;
mod follow;
mod lines;
mod reader;
mod sidecar;
mod sink;
mod source;
mod tail;

pub use appended::AppendedFile;
pub use follow::FollowedFile;
pub use lines::Framing;
pub use sink::FileSink;
pub use source::{FileSource, Header};

use std::path::Path;

use crate::report::Failure;

/// Something the file system refused; it may be mended from outside.
fn trouble(code: &'static str, what: &str, path: &Path, error: std::io::Error) -> Failure {
    Failure::outside(code, format!("cannot {what} `{}`", path.display())).because(error)
}
