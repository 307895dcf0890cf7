//! The vocabulary and the contract of libkv, without any backend.
//!
//! [`Store`] is what a backend implements; [`StoreExt`] is what a user calls. The normal handle is
//! `Arc<dyn Store>`. What every call does, on every backend, is in the project's `CONTRACT.md`.
//!
//! - Names and data: [`Key`], [`KvPair`], [`Version`], [`Txn`].
//! - Choices: [`WriteOptions`] with [`Expect`] and [`Lifetime`], [`ListOptions`],
//!   [`WatchOptions`], [`LockOptions`].
//! - Answers: [`Error`] with its [`ErrorKind`], [`Event`] in an [`EventStream`],
//!   [`Capabilities`].
//! - Locks: [`Lock`], [`LockGuard`], [`FencingToken`], [`Fence`].
//! - Opening: [`StoreUrl`], [`Config`].
//! - For backends: [`LockSession`], [`Session`], [`Deadline`], [`Gate`], [`Backoff`], [`Patience`],
//!   [`diff`].

mod backoff;
mod capabilities;
mod config;
mod error;
mod event;
mod follow;
mod forward;
mod gate;
mod host;
mod key;
mod listing;
mod lock;
mod options;
mod pair;
mod path;
mod patience;
mod query;
mod session;
mod store;
mod tenure;
mod txn;
mod update;
mod url;

pub use self::backoff::Backoff;
pub use self::capabilities::{Capabilities, TtlLimits};
pub use self::config::{ClientIdentity, Config, Credentials, PemSource, TlsConfig};
pub use self::error::{Error, ErrorKind, Result};
pub use self::event::{Event, EventStream, Picture, ResyncReason, WatchTarget, diff};
pub use self::follow::ListingStream;
pub use self::gate::Gate;
pub use self::host::Host;
pub use self::key::{IntoKey, Key, MAX_KEY_BYTES};
pub use self::listing::{Page, PairStream};
pub use self::lock::{Held, Lock, LockGuard, LockSession};
pub use self::options::{
    Consistency, DeleteOptions, DeleteTreeOptions, Expect, Foreign, GetOptions, Lifetime,
    ListOptions, LockOptions, Wait, WatchOptions, WriteOptions,
};
pub use self::pair::{BackendName, Fence, FencingToken, KvPair, LifetimeKind, Version};
pub use self::path::{create_endpoints, get_directory, normalize, split_key};
pub use self::patience::Patience;
pub use self::query::Query;
pub use self::session::{Deadline, Session, SessionState, StateSender, StateWatch};
pub use self::store::{Store, StoreExt};
pub use self::tenure::{Grantor, HandleSession, Tenure};
pub use self::txn::{Compare, Condition, Txn, TxnOutcome, TxnWrite};
pub use self::update::{Change, UpdateOptions};
pub use self::url::StoreUrl;
/// The type of values.
pub use bytes::Bytes;
/// The type of passwords and tokens, which prints none of them.
pub use secrecy::{ExposeSecret, SecretString};
