#![doc = include_str!("../README.md")]

#[allow(dead_code, unused_imports, reason = "the store that calls the client comes next")]
mod client;
mod config;
#[allow(dead_code, reason = "the store that reports the errors comes next")]
mod error;

pub use self::config::ConsulConfig;
