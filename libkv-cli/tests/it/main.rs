//! Drives the program as a user and as a script do: through pipes and under a pseudo-terminal.

#![allow(clippy::unwrap_used, reason = "a test fails where anything is missing")]

mod default_store;
mod errors;
mod exec;
mod help;
mod home;
mod imports;
mod locks;
mod outputs;
mod pipes;
mod terminal;
mod values;
mod watches;
