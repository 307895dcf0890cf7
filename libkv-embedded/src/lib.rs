#![doc = include_str!("../README.md")]

mod config;
mod engine;
mod error;
mod handle;
mod holder;
mod limits;
mod list;
mod lock;
mod machine;
mod store;
mod watch;

pub use self::config::{EmbeddedConfig, Place};
pub use self::store::EmbeddedStore;
