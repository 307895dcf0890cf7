//! Opening a store by its URL, with the features that this test was built with.

use libkv::{ErrorKind, open};
#[cfg(feature = "embedded")]
use libkv::{Store, StoreExt};

#[tokio::test]
async fn an_unknown_scheme_is_refused_with_the_known_ones() {
    for url in ["redis://h", "redis:", "http://h/x"] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported, "{url}");
        for known in ["consul", "consuls", "mem", "file", "etcd", "etcds", "zk", "zks"] {
            assert!(error.to_string().contains(known), "{error}");
        }
    }
}

#[tokio::test]
async fn text_that_is_no_url_says_what_one_looks_like() {
    for text in ["", "mem", "/etc/hosts", "localhost:2379"] {
        let error = open(text).await.unwrap_err();
        let kinds = [ErrorKind::InvalidConfig, ErrorKind::NotSupported];
        assert!(kinds.contains(&error.kind()), "{text:?}: {error}");
    }
}

#[tokio::test]
async fn a_known_scheme_without_a_backend_says_so() {
    for url in ["zk://a,b/chroot", "zks://a"] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported, "{url}");
        let scheme = url.split(':').next().unwrap();
        assert!(error.to_string().contains(scheme), "{error}");
    }
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn mem_opens_a_fresh_store_each_time() {
    let (one, other) = (open("mem:").await.unwrap(), open("mem:").await.unwrap());
    one.put("a", "1").await.unwrap();
    assert!(one.exists("a").await.unwrap());
    assert!(!other.exists("a").await.unwrap());
    assert_eq!(one.to_string(), "mem:");
    for url in ["mem:?root=x/y", "mem:?root=a%20b%26c%23%25"] {
        assert_eq!(open(url).await.unwrap().to_string(), url);
    }
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn file_opens_the_same_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}?connection_timeout=10s", folder.path().join("s.redb").display());
    let store = open(&url).await.unwrap();
    store.put("a", "1").await.unwrap();
    store.close().await.unwrap();
    let again = open(&url).await.unwrap();
    assert_eq!(again.get("a").await.unwrap().value, "1");
    assert_eq!(again.to_string(), url.split('?').next().unwrap());
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn a_typed_config_opens_a_store_and_a_second_session_on_it() {
    let config = libkv::EmbeddedConfig::memory().with_root(libkv::Key::new("r").unwrap());
    let store = libkv::EmbeddedStore::open(config).await.unwrap();
    let second = store.new_handle().await.unwrap();
    store.put("a", "1").await.unwrap();
    assert_eq!(second.get("a").await.unwrap().value, "1");
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn an_opening_that_is_dropped_leaves_no_session_behind() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}?connection_timeout=2s", folder.path().join("s.redb").display());
    let store = libkv::EmbeddedStore::file(folder.path().join("s.redb")).await.unwrap();
    for _ in 0..20 {
        let mut opening = std::pin::pin!(store.new_handle());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        // The file's thread may have answered already; then it is a handle that is dropped.
        drop(opening.as_mut().poll(&mut cx));
    }
    store.close().await.unwrap();
    open(&url).await.expect("the last session has let go of the file");
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn an_unknown_parameter_is_refused_with_the_known_ones() {
    let error = open("mem:?rooot=x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("\"rooot\""), "{error}");
    assert!(error.to_string().contains("known are: root"), "{error}");
}

#[cfg(not(any(feature = "embedded", feature = "etcd")))]
#[tokio::test]
async fn a_backend_that_is_not_compiled_in_names_its_feature() {
    for (url, feature) in [("mem:", "embedded"), ("file:x", "embedded"), ("etcds://h", "etcd")] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        let hint = format!("turn on the feature {feature:?}");
        assert!(error.to_string().contains(&hint), "{error}");
    }
}

#[cfg(feature = "etcd")]
#[tokio::test]
async fn etcd_opens_lazily_by_its_url() {
    let store = open("etcd://localhost:1/app?lazy=true").await.unwrap();
    assert_eq!(store.to_string(), "etcd://localhost:1/app");
    let error = open("etcd://h?lazzy=true").await.unwrap_err();
    assert!(error.to_string().contains("known are: ca, cert"), "{error}");
}
