//! The harness is tested itself: a fault that is not there would let a wrong store pass.

#![allow(clippy::unwrap_used, reason = "a test fails where anything is missing")]

mod consul;
mod proxies;
mod reaping;
mod servers;
