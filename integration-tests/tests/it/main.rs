//! The contract, held against every backend of this workspace.

mod child;
mod consul;
mod embedded;
mod etcd;
mod faults;
mod file;
mod harness;
mod harness_tests;
mod servers;
mod soak;
mod wrong;
