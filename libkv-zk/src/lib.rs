#![doc = include_str!("../README.md")]

mod config;
mod error;
mod exchange;
mod handle;
mod link;
mod list;
mod lock;
mod locks;
mod pace;
mod paths;
mod plan;
mod reader;
mod session;
mod store;
mod tree;
mod walk;
mod watch;
mod write;

pub use self::config::ZkConfig;
pub use self::store::ZkStore;
