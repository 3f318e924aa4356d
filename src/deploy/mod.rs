//! From plans to running jobs.
