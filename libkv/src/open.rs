use std::sync::Arc;

use libkv_core::{Error, ErrorKind, Result, Store, StoreUrl};

use crate::Backend;

/// Opens a store by its URL, such as `mem:` or `etcd://h1:2379,h2:2379/app`.
///
/// Which backends are compiled in is a matter of features, one a backend.
///
/// # Errors
///
/// [`ErrorKind::NotSupported`] for a scheme that is unknown, or known and not compiled in, which
/// says what to turn on; [`ErrorKind::InvalidConfig`] for a URL that is wrong, such as one with an
/// unknown parameter; `NotReachable`, `Timeout` and `PermissionDenied` from the server.
///
/// # Cancel safety
///
/// Safe: nothing is left open.
pub async fn open(url: &str) -> Result<Arc<dyn Store>> {
    // The scheme first: what is not known need not be parsed.
    let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    if url.contains(':') {
        Backend::of_scheme(&scheme)?;
    }
    let url: StoreUrl = url.parse()?;
    match url.scheme() {
        #[cfg(feature = "consul")]
        "consul" | "consuls" => {
            let config = url.try_into()?;
            Ok(Arc::new(libkv_consul::ConsulStore::open(config).await?))
        }
        #[cfg(feature = "embedded")]
        "mem" | "file" => {
            let config = url.try_into()?;
            Ok(Arc::new(libkv_embedded::EmbeddedStore::open(config).await?))
        }
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => {
            let config = url.try_into()?;
            Ok(Arc::new(libkv_etcd::EtcdStore::open(config).await?))
        }
        "zk" | "zks" => Err(not_supported(format!(
            "this version of libkv has no backend for {}: yet",
            url.scheme()
        ))),
        _ => Err(not_compiled_in(&url)),
    }
}

/// A backend that is known and was left out.
fn not_compiled_in(url: &StoreUrl) -> Error {
    let feature = Backend::of_scheme(url.scheme()).map_or("", Backend::as_str);
    not_supported(format!(
        "{}: is not compiled in; turn on the feature {feature:?} of libkv",
        url.scheme()
    ))
}

fn not_supported(detail: String) -> Error {
    Error::local(ErrorKind::NotSupported, "open").with_detail(detail)
}
