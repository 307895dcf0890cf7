//! What tests of real servers have in common, whichever server it is.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::future_not_send,
    reason = "these are tests, each of one task"
)]

pub(crate) mod locks;
pub(crate) mod opening;
pub(crate) mod outcomes;
pub(crate) mod peers;
pub(crate) mod rights;
pub(crate) mod secrets;
pub(crate) mod tls;
pub(crate) mod trips;

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use libkv_core::{Config, Result, Store};
use tokio::sync::OnceCell;

use crate::harness::certificates::Tls;

/// How long to wait for what must happen. Only a broken store ever waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at what cannot be waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// A backend, and servers for it.
pub(crate) trait Backend: Send + Sync + Sized + 'static {
    /// The scheme of its URLs; with an `s` behind it, TLS is spoken.
    const SCHEME: &'static str;
    /// A server of a test's own.
    type Server: Send + Sync;

    /// Starts a server that speaks nothing but TLS.
    async fn start_with_tls(tls: Tls) -> Self::Server;

    /// The host and port that clients connect to.
    fn endpoint(server: &Self::Server) -> String;

    /// The same of the plain server that everybody shares.
    async fn shared() -> String;

    /// Opens a store at an endpoint.
    async fn open(endpoint: &str, common: Config) -> Result<Arc<dyn Store>>;

    /// Opens a store by its URL.
    async fn open_url(url: &str) -> Result<Arc<dyn Store>>;

    /// Where the servers of the tests of TLS are kept.
    fn tls_servers() -> &'static OnceCell<tls::Servers<Self>>;
}

/// Waits for what must happen.
#[track_caller]
pub(crate) fn soon<T>(what: &str, happens: impl Future<Output = T>) -> impl Future<Output = T> {
    let (what, place) = (what.to_owned(), Location::caller());
    async move {
        match tokio::time::timeout(PATIENCE, happens).await {
            Ok(value) => value,
            Err(_) => panic!("{what}: nothing within {PATIENCE:?}, waited for at {place}"),
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, is_so: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    soon(what, async move {
        while !is_so().await {
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Text that nobody else has in a name.
pub(crate) fn unique() -> String {
    format!("n{:016x}", fastrand::u64(..))
}
