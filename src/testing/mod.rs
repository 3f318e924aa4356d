//! `runner test`: whole pipelines as data.
