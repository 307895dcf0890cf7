use libkv_core::{Key, KvPair, LifetimeKind, Version};
use zookeeper_client::Stat;

use crate::error::ZK;

/// Where keys are in ZooKeeper: the store's root in front of the text, as a path.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Empty, or a path without a slash at its end.
    root: String,
}

impl Paths {
    /// Paths below a root.
    pub(crate) fn below_root(root: &Key) -> Self {
        Self { root: if root.is_root() { String::new() } else { format!("/{root}") } }
    }

    /// The path of a key. That of the root is where the store begins.
    pub(crate) fn path(&self, key: &Key) -> String {
        match (key.is_root(), self.root.as_str()) {
            (true, "") => "/".to_owned(),
            (true, root) => root.to_owned(),
            (false, root) => format!("{root}/{key}"),
        }
    }

    /// The key of a path; none for one that no key can express, and for the root.
    pub(crate) fn key(&self, path: &str) -> Option<Key> {
        let text = path.strip_prefix(&self.root)?.strip_prefix('/')?;
        // A key that prints differently would be another path when it is written.
        Key::new(text).ok().filter(|key| key.as_str() == text && !key.is_root())
    }
}

/// The path of a child.
pub(crate) fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The path above; none for that of the server's root.
pub(crate) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// The last part of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// All paths above, from the longest on, without that of the server's root.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path)).filter(|path| *path != "/")
}

/// Whether a node is a key: it holds data, or has no children and its data was set. One that was
/// only made, as a parent is, is none.
pub(crate) fn is_key(path: &str, stat: &Stat) -> bool {
    let valued = stat.data_length > 0 || (stat.num_children == 0 && stat.version > 0);
    valued && !is_lock_node(path, stat)
}

/// Whether a node is an empty value, below which nothing can be put.
pub(crate) fn is_empty_value(stat: &Stat) -> bool {
    stat.data_length == 0 && stat.num_children == 0 && stat.version > 0
}

/// Whether a node is a lock's, as Curator's `InterProcessMutex` and kazoo's `Lock` make it.
pub(crate) fn is_lock_node(path: &str, stat: &Stat) -> bool {
    stat.ephemeral_owner != 0 && lock_sequence(name(path)).is_some()
}

/// The number of a lock node in its queue: of Curator's `_c_GUID-lock-NUMBER`, which is ours too,
/// or of kazoo's `GUID__lock__NUMBER`. The server gives the numbers to both.
pub(crate) fn lock_sequence(name: &str) -> Option<i32> {
    const UUID: usize = 36;
    const HEX: usize = 32;
    let (guid, number) = match name.strip_prefix("_c_") {
        Some(rest) => {
            let (guid, rest) = rest.split_at_checked(UUID)?;
            (guid, rest.strip_prefix("-lock-")?)
        }
        None => {
            let (guid, rest) = name.split_at_checked(HEX)?;
            (guid, rest.strip_prefix("__lock__")?)
        }
    };
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    let sequence = number.parse().ok().filter(|_| guid.chars().all(hex))?;
    // As the server writes it, and nobody else.
    (format!("{sequence:010}") == number).then_some(sequence)
}

/// The version of a node: which write it was, of which node, and how many there were before.
pub(crate) fn version(stat: &Stat) -> Version {
    let bits = |number: i64| u64::from_ne_bytes(number.to_ne_bytes());
    let extra = [bits(stat.czxid), u64::from(u32::from_ne_bytes(stat.version.to_ne_bytes()))];
    Version::with_extra(ZK, bits(stat.mzxid), extra)
}

/// What ends the life of a node.
pub(crate) fn lifetime(stat: &Stat) -> LifetimeKind {
    match stat.ephemeral_owner {
        0 => LifetimeKind::Permanent,
        _ => LifetimeKind::Ephemeral,
    }
}

/// The pair of a node.
pub(crate) fn pair(key: Key, value: Vec<u8>, stat: &Stat) -> KvPair {
    KvPair::new(key, value.into(), version(stat), lifetime(stat))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_key_is_its_text_behind_the_root() {
        let top = Paths::below_root(&Key::root());
        assert_eq!((top.path(&key("a/b")), top.path(&Key::root())), ("/a/b".into(), "/".into()));
        let below = Paths::below_root(&key("x/y"));
        assert_eq!(
            (below.path(&key("a")), below.path(&Key::root())),
            ("/x/y/a".into(), "/x/y".into())
        );
        assert_eq!((below.key("/x/y/a"), below.key("/x/yy/a")), (Some(key("a")), None));
        assert_eq!(
            (below.key("/x/y"), top.key("/"), top.key("/zookeeper/quota")),
            (None, None, None)
        );
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), (Some("/a"), Some("/"), None));
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a"]);
        assert_eq!(
            (child("/", "a"), child("/a", "b"), name("/a/b")),
            ("/a".into(), "/a/b".into(), "b")
        );
    }

    #[test]
    fn a_lock_node_is_known_by_its_pattern() {
        let (guid, hex) =
            ("0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5bd9cb469fa16570867728950e");
        for (number, sequence) in [
            ("0000000007", 7),
            ("2147483647", i32::MAX),
            ("-2147483648", i32::MIN),
            ("-000000005", -5),
        ] {
            for name in [format!("_c_{guid}-lock-{number}"), format!("{hex}__lock__{number}")] {
                assert_eq!(lock_sequence(&name), Some(sequence), "{name}");
            }
        }
        for name in [
            "",
            "lock-0000000001",
            "_c_x-lock-0000000001",
            &format!("_c_{guid}-lock-"),
            &format!("_c_{guid}-lock-7"),
            &format!("_c_{guid}-lock-2147483648"),
            &format!("_c_{guid}-lock-+000000001"),
            &format!("_c_{guid}-lease-0000000001"),
            &format!("{guid}-lock-0000000001"),
            &format!("{hex}__rlock__0000000001"),
        ] {
            assert_eq!(lock_sequence(name), None, "{name}");
        }
    }
}
