use crate::{Error, ErrorKind, IntoKey, Result};

/// Writes `scheme://` in front of each address that lacks it.
///
/// ```
/// let endpoints = libkv_core::create_endpoints(&["a:1", "http://b:2"], "http")?;
/// assert_eq!(endpoints, ["http://a:1", "http://b:2"]);
/// # Ok::<(), libkv_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidConfig`] for an address that is empty or has another scheme.
pub fn create_endpoints(addresses: &[impl AsRef<str>], scheme: &str) -> Result<Vec<String>> {
    // An address is named by its place, because it may hold a password.
    let create = |(place, address): (usize, &_)| {
        create_endpoint(AsRef::as_ref(address), scheme).map_err(|reason| {
            Error::local(ErrorKind::InvalidConfig, "create_endpoints")
                .with_detail(format!("address {place} {reason}"))
        })
    };
    (1..).zip(addresses).map(create).collect()
}

fn create_endpoint(address: &str, scheme: &str) -> Result<String, String> {
    let rest = match address.split_once("://") {
        Some((own, rest)) if own.eq_ignore_ascii_case(scheme) => rest,
        Some(_) => return Err(format!("has another scheme than {scheme}; use one for all")),
        None => address,
    };
    if rest.trim().is_empty() {
        return Err("is empty; write host:port".to_owned());
    }
    Ok(format!("{scheme}://{rest}"))
}

/// The key with a slash in front and none behind, as in ZooKeeper: `/a/b`; `/` for the root.
///
/// # Errors
///
/// [`ErrorKind::InvalidKey`] as for [`Key::new`](crate::Key::new).
pub fn normalize(key: impl IntoKey) -> Result<String> {
    Ok(format!("/{}", key.into_key()?.as_str()))
}

/// The directory that the key is in, always between slashes: `/a/` for `a/b`; `/` for `a` and for
/// the root.
///
/// # Errors
///
/// [`ErrorKind::InvalidKey`] as for [`Key::new`](crate::Key::new).
pub fn get_directory(key: impl IntoKey) -> Result<String> {
    Ok(match key.into_key()?.parent() {
        Some(parent) if !parent.is_root() => format!("/{}/", parent.as_str()),
        _ => "/".to_owned(),
    })
}

/// The segments of the key; none for the root.
///
/// # Errors
///
/// [`ErrorKind::InvalidKey`] as for [`Key::new`](crate::Key::new).
pub fn split_key(key: impl IntoKey) -> Result<Vec<String>> {
    Ok(key.into_key()?.segments().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn endpoints_keep_their_order_and_get_the_scheme_once() {
        for (addresses, expected) in [
            (&["a:1", "b:2"][..], &["http://a:1", "http://b:2"][..]),
            (&[], &[]),
            (&["http://a:1"], &["http://a:1"]),
            (&["HTTP://a:1"], &["http://a:1"]),
        ] {
            assert_eq!(create_endpoints(addresses, "http").unwrap(), expected);
        }
        assert_eq!(create_endpoints(&["a:1".to_owned()], "https").unwrap(), ["https://a:1"]);
    }

    #[test]
    fn a_wrong_address_is_named_by_its_place() {
        for (addresses, expected) in [
            (["a:1", ""], "address 2 is empty"),
            ([" ", "a:1"], "address 1 is empty"),
            (["a:1", "http://"], "address 2 is empty"),
            (["a:1", "https://u:secret@b"], "address 2 has another scheme than http;"),
        ] {
            let error = create_endpoints(&addresses, "http").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            let error = error.to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn slashes_are_folded_in_every_helper() {
        for (key, normal, directory, segments) in [
            ("", "/", "/", &[][..]),
            ("/", "/", "/", &[]),
            ("foo", "/foo", "/", &["foo"]),
            ("/a", "/a", "/", &["a"]),
            ("a/b", "/a/b", "/a/", &["a", "b"]),
            ("/a/b", "/a/b", "/a/", &["a", "b"]),
            ("a/b/", "/a/b", "/a/", &["a", "b"]),
            ("a//b", "/a/b", "/a/", &["a", "b"]),
            ("a/b/c", "/a/b/c", "/a/b/", &["a", "b", "c"]),
        ] {
            assert_eq!(normalize(key).unwrap(), normal, "{key:?}");
            assert_eq!(normalize(normal).unwrap(), normal, "{key:?} twice");
            assert_eq!(get_directory(key).unwrap(), directory, "{key:?}");
            assert_eq!(split_key(key).unwrap(), segments, "{key:?}");
        }
        assert_eq!(normalize(Key::root()).unwrap(), "/");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for result in [normalize("a/../b"), get_directory("a/../b")] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidKey);
        }
        assert_eq!(split_key("a/../b").unwrap_err().kind(), ErrorKind::InvalidKey);
    }
}
