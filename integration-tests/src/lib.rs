//! The conformance suite of libkv: what every backend does, as cases that name the numbered
//! sentences of `CONTRACT.md` they show.
//!
//! A backend, also one of a third party, implements [`Target`] and lists the cases once:
//!
//! ```text
//! mod etcd {
//!     integration_tests::conformance!(tests for crate::EtcdTarget::default());
//! }
//! ```
//!
//! Each case is a test of its own name, with a store, a second separate connection and a fresh
//! random root. Where a capability is absent, the case asserts the refusal.

pub mod cases;
mod contract;
mod elsewhere;
mod fixture;
mod log;
mod suite;

pub use self::contract::{Row, Sentence, check, sentences, table, test_names};
pub use self::elsewhere::{ELSEWHERE, Elsewhere};
pub use self::fixture::{Fixture, Target, Watcher, key};
pub use self::log::{collect_lines, lines_about};
pub use self::suite::{Case, PRESENT, SUITES, run, verdict};
