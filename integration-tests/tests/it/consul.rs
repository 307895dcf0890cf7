//! Consul, on real servers.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod cli;
mod program;
