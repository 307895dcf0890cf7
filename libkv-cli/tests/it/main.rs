//! Drives the program as a user and as a script do: through pipes and under a pseudo-terminal.

#![allow(clippy::unwrap_used, reason = "a test fails where anything is missing")]

#[cfg(feature = "consul")]
mod consul;
mod default_store;
mod errors;
#[cfg(feature = "etcd")]
mod etcd;
mod exec;
mod help;
mod home;
mod imports;
mod locks;
mod outputs;
mod pipes;
#[cfg(any(feature = "consul", feature = "etcd"))]
mod served;
mod terminal;
mod values;
mod watches;

/// The servers are those that the library's own tests use; not all of it is needed here.
#[cfg(any(feature = "consul", feature = "etcd"))]
#[path = "../../../integration-tests/tests/it"]
#[allow(dead_code, unused_imports, reason = "the library's tests use the rest")]
mod servers {
    pub(crate) mod harness;
}

#[cfg(any(feature = "consul", feature = "etcd"))]
use servers::harness;
