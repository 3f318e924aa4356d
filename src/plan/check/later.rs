//! What the language has and this release has not: refused at its place, never read and forgotten.

use std::collections::BTreeSet;

use crate::report::{Diagnostic, Diagnostics};
use crate::spec::{Documents, TimeSpec, not_available};

/// Complains about every such key of every document.
pub(super) fn refuse(documents: &Documents, out: &mut Diagnostics) {
    for pipeline in &documents.pipelines {
        if let Some(memory) = &pipeline.spec.memory {
            out.push(not_available("`memory`", &memory.place));
        }
        pipeline.spec.sources.iter().for_each(|source| refuse_align(source.time.as_ref(), out));
    }
    documents.topics.iter().for_each(|topic| refuse_align(topic.spec.time.as_ref(), out));
    for schema in &documents.schemas {
        if let Some(compatibility) = &schema.spec.compatibility {
            out.push(
                not_available("`compatibility` of a Schema", &compatibility.place)
                    .hint("set the subject's level in the registry; it is checked before anything starts"),
            );
        }
    }
}

fn refuse_align(time: Option<&TimeSpec>, out: &mut Diagnostics) {
    if let Some(time) = time.filter(|time| time.align.is_some()) {
        out.push(not_available("`align`", &time.place));
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
