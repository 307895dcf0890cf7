#![doc = include_str!("../README.md")]

mod config;
mod engine;
mod error;
mod handle;
mod lock;
mod machine;
mod store;
mod watch;

pub use self::config::EmbeddedConfig;
pub use self::store::EmbeddedStore;
