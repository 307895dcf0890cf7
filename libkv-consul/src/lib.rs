#![doc = include_str!("../README.md")]

mod client;
mod commit;
mod config;
mod error;
mod find;
mod handle;
mod hub;
mod kept;
mod kinds;
mod list;
mod lock;
mod mailbox;
mod names;
mod owner;
mod request;
mod rights;
mod session;
mod spare;
mod store;
mod watch;

pub use self::config::ConsulConfig;
pub use self::store::ConsulStore;
