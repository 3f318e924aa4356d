//! What the product says when something is wrong.
//!
//! A [`Diagnostic`] is a thing the user must mend in a spec; one run finds all that can be found.
//! A [`Failure`] is something that broke while running: it says whom to blame, whether a retry
//! helps, and keeps its cause. A room's own error enum becomes one of these two at its door.

mod diagnostic;
mod failure;
mod render;
mod source;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, most_like};
pub use failure::{Blame, Failure};
pub use render::{Style, render, to_json};
pub use source::{Place, SourceFile};
