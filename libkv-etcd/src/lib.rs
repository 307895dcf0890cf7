#![doc = include_str!("../README.md")]

mod bound;
mod cluster;
mod config;
mod endpoint;
mod error;
mod handle;
mod history;
mod hub;
mod lease;
mod list;
mod lock;
mod mailbox;
mod names;
mod owner;
mod pages;
mod queue;
mod request;
mod session;
mod spare;
mod store;
mod watch;

pub use self::config::EtcdConfig;
pub use self::store::EtcdStore;
