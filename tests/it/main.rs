//! The one integration test binary: each one links DataFusion.

mod errors;
