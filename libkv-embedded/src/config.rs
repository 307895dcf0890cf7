use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use libkv_core::{Error, ErrorKind, Key, Result, StoreUrl};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const DEFAULT_CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How to open an embedded store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedConfig {
    /// Where the data is.
    pub place: Place,
    /// The key below which all keys of the handle are kept.
    pub root: Key,
    /// How long to wait for another process that has the file.
    pub connection_timeout: Duration,
}

/// Where an embedded store keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In memory; a fresh store each time.
    Memory,
    /// In a file, which is made where it is not there yet.
    File(PathBuf),
}

impl Place {
    /// The URL of the place, without parameters.
    pub(crate) fn url(&self) -> String {
        let Self::File(path) = self else {
            return "mem:".to_owned();
        };
        let path = path.to_string_lossy();
        // Two slashes at the start would read as those before a host.
        let slashes = if path.starts_with("//") { "//" } else { "" };
        format!("file:{slashes}{}", encoded(&path))
    }
}

/// Text as it stands in a URL.
pub(crate) fn encoded(text: &str) -> impl fmt::Display {
    const PLAIN: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    utf8_percent_encode(text, PLAIN)
}

impl EmbeddedConfig {
    /// A fresh store in memory.
    pub fn memory() -> Self {
        Self::at(Place::Memory)
    }

    /// A store in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    fn at(place: Place) -> Self {
        Self { place, root: Key::root(), connection_timeout: DEFAULT_CONNECTION_TIMEOUT }
    }

    /// Keeps all keys of the handle below `root`.
    #[must_use]
    pub fn with_root(self, root: Key) -> Self {
        Self { root, ..self }
    }

    /// Sets how long to wait for another process that has the file.
    #[must_use]
    pub fn with_connection_timeout(self, connection_timeout: Duration) -> Self {
        Self { connection_timeout, ..self }
    }
}

impl TryFrom<StoreUrl> for EmbeddedConfig {
    type Error = Error;

    /// Reads `mem:?root=KEY` or `file:PATH?root=KEY&connection_timeout=5s`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for another scheme and for a parameter that is not known, with
    /// the list of those that are.
    fn try_from(url: StoreUrl) -> Result<Self> {
        let config = match (url.scheme(), url.path()) {
            ("mem", None) => Self::memory(),
            ("file", Some(path)) => Self::file(path),
            (scheme, _) => {
                return Err(Error::local(ErrorKind::InvalidConfig, "open").with_detail(format!(
                    "scheme {scheme:?} is none of the embedded store's, which are mem: and file:"
                )));
            }
        };
        let mut query = url.query();
        let root = query.take_str("root").map_or_else(|| Ok(Key::root()), Key::new)?;
        let timeout = match config.place {
            Place::Memory => None,
            Place::File(_) => query.take_duration("connection_timeout")?,
        };
        query.finish()?;
        let timeout = timeout.unwrap_or(DEFAULT_CONNECTION_TIMEOUT);
        Ok(config.with_root(root).with_connection_timeout(timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<EmbeddedConfig> {
        url.parse::<StoreUrl>()?.try_into()
    }

    #[test]
    fn each_parameter_is_read() {
        assert!(config("mem:").unwrap().root.is_root());
        assert_eq!(config("mem:?root=/a/b/").unwrap().root.as_str(), "a/b");
        let file = config("file:/x/y.redb?root=a&connection_timeout=250ms").unwrap();
        assert_eq!(file.place, Place::File("/x/y.redb".into()));
        assert_eq!(file.root.as_str(), "a");
        assert_eq!(file.connection_timeout, Duration::from_millis(250));
    }

    #[test]
    fn the_url_of_a_place_opens_it_again() {
        for path in ["a.redb", "/x/y", "//x", "100%/a b", "a?b#c", "é&=:@"] {
            let place = Place::File(path.into());
            assert_eq!(config(&place.url()).unwrap().place, place, "{}", place.url());
        }
        assert_eq!(config(&Place::Memory.url()).unwrap().place, Place::Memory);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for (url, wrong, known) in [
            ("mem:?rot=a", "rot", "root"),
            ("mem:?connection_timeout=1s", "connection_timeout", "root"),
            ("file:x?lazy=true", "lazy", "connection_timeout, root"),
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            let text = error.to_string();
            assert!(text.contains(wrong) && text.contains(known), "{text}");
        }
        assert_eq!(config("mem:?root=..").unwrap_err().kind(), ErrorKind::InvalidKey);
        assert_eq!(config("etcd://h").unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
