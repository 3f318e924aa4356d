//! What the language has and this release has not: refused at its place, never read and forgotten.

use std::collections::BTreeSet;

use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Documents, not_available};

/// Complains about every such key of every document.
pub(super) fn refuse(documents: &Documents, out: &mut Diagnostics) {
    for schema in &documents.schemas {
        if let Some(compatibility) = &schema.spec.compatibility {
            out.push(
                not_available("`compatibility` of a Schema", &compatibility.place)
                    .hint("set the subject's level in the registry; it is checked before anything starts"),
            );
        }
    }
}

/// Warns of Schema documents that nothing in the command reads or writes: nobody registers them.
pub(super) fn warn_unused(documents: &Documents, used: &BTreeSet<String>, out: &mut Diagnostics) {
    for schema in &documents.schemas {
        let subject = &schema.metadata.name;
        if !used.contains(&subject.value) {
            let title = format!("no source or sink uses the schema of subject `{}`", subject.value);
            out.push(Diagnostic::warning("schema.unused", title).at(&subject.place).hint("it will not be registered"));
        }
    }
}
