//! What is secret is in no text.

use std::error::Error as _;
use std::fmt::Write as _;

use bytes::Bytes;
use libkv_core::{ClientIdentity, Config, Error, ErrorKind, PemSource, StoreUrl, TlsConfig};

use super::Backend;
use crate::harness::certificates::Authority;

/// Each form of an error and of all its causes.
pub(crate) fn texts(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, " {error} {error:?}").unwrap();
        cause = error.source();
    }
    text
}

/// What is said of a URL: it prints with `masked` in place of the secret, and is no URL then.
pub(crate) fn of_url(url: &StoreUrl, masked: &str) -> String {
    let printed = url.to_string();
    assert!(printed.contains(masked), "{printed}");
    let error = printed.parse::<StoreUrl>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    format!("{printed} {url:?} {url:#?} {}", texts(&error))
}

/// What is said of a client's key, to a server that speaks no TLS; and a line of the key.
pub(crate) async fn of_private_key<B: Backend>() -> (String, String) {
    let issued = Authority::new().issue("a client", &[]);
    let private = issued.key.lines().nth(1).unwrap().to_owned();
    let pem = |text: String| PemSource::Bytes(Bytes::from(text));
    let client = ClientIdentity::new(pem(issued.certificate), pem(issued.key));
    let common = Config::default().with_tls(TlsConfig::default().with_client(client));
    let said = format!("{common:?} {common:#?}");
    (said + &texts(&B::open(&B::shared().await, common).await.unwrap_err()), private)
}
