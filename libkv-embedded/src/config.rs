use libkv_core::{Error, ErrorKind, Key, Result, StoreUrl};

/// How to open an embedded store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedConfig {
    /// The key below which all keys of the handle are kept.
    pub root: Key,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { root: Key::root() }
    }
}

impl EmbeddedConfig {
    /// Keeps all keys of the handle below `root`.
    #[must_use]
    pub fn with_root(self, root: Key) -> Self {
        Self { root, ..self }
    }
}

impl TryFrom<StoreUrl> for EmbeddedConfig {
    type Error = Error;

    /// Reads `mem:?root=KEY`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] for another scheme and for a parameter that is not known, with
    /// the list of those that are.
    fn try_from(url: StoreUrl) -> Result<Self> {
        if url.scheme() != "mem" {
            return Err(Error::local(ErrorKind::InvalidConfig, "open").with_detail(format!(
                "scheme {:?} is not the embedded store's mem:",
                url.scheme()
            )));
        }
        let mut query = url.query();
        let root = query.take_str("root").map_or_else(|| Ok(Key::root()), Key::new)?;
        query.finish()?;
        Ok(Self { root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<EmbeddedConfig> {
        url.parse::<StoreUrl>()?.try_into()
    }

    #[test]
    fn a_root_can_be_given() {
        assert!(config("mem:").unwrap().root.is_root());
        assert_eq!(config("mem:?root=/a/b/").unwrap().root.as_str(), "a/b");
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let error = config("mem:?rot=a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("rot") && error.to_string().contains("root"), "{error}");
        assert_eq!(config("mem:?root=..").unwrap_err().kind(), ErrorKind::InvalidKey);
        assert_eq!(config("etcd://h").unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
