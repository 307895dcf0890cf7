use libkv_core::Key;

/// What Consul's own client writes into the flags of a lock (`LockFlagValue` in its `api/lock.go`).
pub(crate) const LOCK_FLAG: u64 = 0x2ddc_cbc0_58a5_0c18;
/// The last segment of a lock's name, as `consul lock` chooses it.
const LOCK_SEGMENT: &str = ".lock";

/// How keys are named in Consul: the store's root in front of the text.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    /// Names below a root: its text and a slash.
    pub(crate) fn below_root(root: &Key) -> Self {
        let prefix = if root.is_root() { String::new() } else { format!("{root}/") };
        Self { prefix }
    }

    /// How many bytes the root takes of each name.
    pub(crate) fn root_bytes(&self) -> usize {
        self.prefix.len()
    }

    /// The name of a key.
    pub(crate) fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key of a name; none for a foreign name, which no key can express.
    pub(crate) fn key(&self, name: &str) -> Option<Key> {
        let text = name.strip_prefix(&self.prefix)?;
        // A key that prints differently would be another name when it is written.
        Key::new(text).ok().filter(|key| key.as_str() == text && !key.is_root())
    }

    /// What the names of all that is below a key begin with.
    pub(crate) fn below(&self, dir: &Key) -> String {
        if dir.is_root() { self.prefix.clone() } else { format!("{}{dir}/", self.prefix) }
    }

    /// The name of the lock on a key.
    pub(crate) fn lock(&self, key: &Key) -> String {
        format!("{}{key}/{LOCK_SEGMENT}", self.prefix)
    }
}

/// Whether a stored name is a lock, as `consul lock` writes it.
pub(crate) fn is_lock_node(name: &str, flags: u64) -> bool {
    flags == LOCK_FLAG && may_be_lock_node(name)
}

/// Whether a name would be a lock if it had the flag.
pub(crate) fn may_be_lock_node(name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(_, last)| last == LOCK_SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_key_is_its_text_behind_the_root() {
        let top = Names::below_root(&Key::root());
        assert_eq!((top.name(&key("a/b")), top.below(&key("a"))), ("a/b".into(), "a/".into()));
        assert_eq!((top.below(&Key::root()), top.lock(&key("a"))), ("".into(), "a/.lock".into()));
        let below = Names::below_root(&key("x/y"));
        assert_eq!(
            (below.name(&key("a")), below.below(&Key::root())),
            ("x/y/a".into(), "x/y/".into())
        );
        assert_eq!((below.key("x/y/a"), below.key("x/yy/a")), (Some(key("a")), None));
    }

    #[test]
    fn a_name_that_no_key_expresses_is_foreign() {
        let top = Names::below_root(&Key::root());
        for name in ["a/", "/a", "a//b", "a/../b", "a\n", "", "zookeeper/a"] {
            assert_eq!(top.key(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_lock_has_its_name_and_its_flag() {
        assert!(is_lock_node("k/.lock", LOCK_FLAG));
        for (name, flags) in
            [("k/.lock", 0), ("k/lock", LOCK_FLAG), (".lock", LOCK_FLAG), ("k/.lock/x", LOCK_FLAG)]
        {
            assert!(!is_lock_node(name, flags), "{name} {flags}");
        }
    }
}
