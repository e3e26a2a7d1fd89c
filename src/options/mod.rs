//! What the caller typed, or wrote into a file for `--extra-opts`.

pub mod args;
pub mod extra_opts;
pub mod growth;
pub mod several;
