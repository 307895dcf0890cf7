#![cfg_attr(feature = "embedded", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "embedded"),
    doc = "One API over several stores; turn on a backend's feature."
)]

mod backend;
mod open;

#[cfg(feature = "consul")]
pub use libkv_consul::{ConsulConfig, ConsulStore};
pub use libkv_core::*;
#[cfg(feature = "embedded")]
pub use libkv_embedded::{EmbeddedConfig, EmbeddedStore, Place};
#[cfg(feature = "etcd")]
pub use libkv_etcd::{EtcdConfig, EtcdStore};

pub use self::backend::Backend;
pub use self::open::open;
