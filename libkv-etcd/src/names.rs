use std::sync::Arc;

use libkv_core::Key;

/// How keys are named in etcd: the store's prefix in front of the text.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: Arc<[u8]>,
}

/// A range of names in etcd, from `from` up to and without `end`; without an end it is one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl Names {
    /// Names below a root: its text and a slash.
    pub(crate) fn below_root(root: &Key) -> Self {
        if root.is_root() { Self::with_prefix("") } else { Self::with_prefix(&format!("{root}/")) }
    }

    /// Names behind raw bytes.
    pub(crate) fn with_prefix(prefix: &str) -> Self {
        Self { prefix: prefix.as_bytes().into() }
    }

    /// How many bytes stand in front of each key.
    pub(crate) fn prefix_bytes(&self) -> usize {
        self.prefix.len()
    }

    /// The name of a key.
    pub(crate) fn name(&self, key: &Key) -> Vec<u8> {
        [&self.prefix, key.as_str().as_bytes()].concat()
    }

    /// The key of a name; none for a foreign name, which no key can express.
    pub(crate) fn key(&self, name: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(name.strip_prefix(&*self.prefix)?).ok()?;
        // A key that prints differently would be another name when it is written.
        Key::new(text).ok().filter(|key| key.as_str() == text && !key.is_root())
    }

    /// One key.
    pub(crate) fn one(&self, key: &Key) -> Span {
        Span { from: self.name(key), end: None }
    }

    /// All that is below a key.
    pub(crate) fn below(&self, dir: &Key) -> Span {
        let mut from = self.name(dir);
        if !dir.is_root() {
            from.push(b'/');
        }
        Span::of_prefix(from)
    }
}

impl Span {
    /// One name.
    pub(crate) fn one(name: Vec<u8>) -> Self {
        Self { from: name, end: None }
    }

    /// All names that begin with `prefix`.
    pub(crate) fn of_prefix(prefix: Vec<u8>) -> Self {
        // A single zero byte is the server's word for "the first name" and for "no end".
        let Some(last) = prefix.iter().rposition(|byte| *byte < u8::MAX) else {
            return Self { from: vec![0], end: Some(vec![0]) };
        };
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        Self { from: prefix, end: Some(end) }
    }

    /// What is left of it behind `name`.
    pub(crate) fn after(&self, name: &[u8]) -> Self {
        let next = [name, &[0]].concat();
        Self { from: next.max(self.from.clone()), end: self.end.clone() }
    }

    /// Whether a name is in it.
    pub(crate) fn holds(&self, name: &[u8]) -> bool {
        match self.end.as_deref() {
            None => name == self.from,
            Some([0]) => *name >= *self.from,
            Some(end) => *name >= *self.from && name < end,
        }
    }
}

/// Whether a stored name is a lock's node: its last segment is its own lease, as `etcdctl lock` and
/// Go's `concurrency.Mutex` write it.
pub(crate) fn is_lock_node(name: &[u8], lease: i64) -> bool {
    lease != 0 && lease_in(name) == Some(lease)
}

/// The lease that a name would be the lock's node of.
pub(crate) fn lease_in(name: &[u8]) -> Option<i64> {
    let slash = name.iter().rposition(|byte| *byte == b'/')?;
    let digits = std::str::from_utf8(&name[slash + 1..]).ok()?;
    let is_plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.starts_with('0') || !digits.bytes().all(is_plain) {
        return None;
    }
    i64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_key_is_its_text_behind_the_prefix() {
        let top = Names::below_root(&Key::root());
        assert_eq!(top.name(&key("a/b")), b"a/b");
        assert_eq!(top.below(&key("a")), Span::of_prefix(b"a/".to_vec()));
        assert_eq!(top.below(&Key::root()), Span { from: vec![0], end: Some(vec![0]) });
        let below = Names::below_root(&key("x/y"));
        assert_eq!(below.name(&key("a")), b"x/y/a");
        assert_eq!(below.key(b"x/y/a"), Some(key("a")));
        assert_eq!(below.key(b"x/yy/a"), None);
        let raw = Names::with_prefix("/registry/");
        assert_eq!(raw.name(&key("pods/a")), b"/registry/pods/a");
        assert_eq!(raw.key(b"/registry/pods/a"), Some(key("pods/a")));
    }

    #[test]
    fn a_name_that_no_key_expresses_is_foreign() {
        let top = Names::below_root(&Key::root());
        for name in [&b"a/"[..], b"/a", b"a//b", b"\xff", b"a/../b", b"a\n", b"", b"zookeeper/a"] {
            assert_eq!(top.key(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_span_holds_what_it_should() {
        let span = Span::of_prefix(b"a/".to_vec());
        assert!(span.holds(b"a/") && span.holds(b"a/x") && span.holds(b"a/\xff"));
        assert!(!span.holds(b"a") && !span.holds(b"a0") && !span.holds(b"apple"));
        let rest = span.after(b"a/x");
        assert!(!rest.holds(b"a/x") && rest.holds(b"a/x\0") && rest.holds(b"a/y"));
        assert_eq!(span.after(b"A"), span);
        let all = Span::of_prefix(Vec::new());
        assert!(all.holds(b"\0") && all.holds(b"\xff\xff"));
        assert!(Span::one(b"a".to_vec()).holds(b"a") && !Span::one(b"a".to_vec()).holds(b"a/"));
    }

    #[test]
    fn a_lock_node_ends_in_its_own_lease() {
        assert!(is_lock_node(b"k/694d", 0x694d));
        for (name, lease) in [
            (&b"k/694d"[..], 0),
            (b"k/694d", 0x694e),
            (b"k/0694d", 0x694d),
            (b"k/694D", 0x694d),
            (b"694d", 0x694d),
            (b"k/694d/x", 0x694d),
            (b"k/", 0),
            (b"k/0", 0),
        ] {
            assert!(!is_lock_node(name, lease), "{name:?} {lease}");
        }
        assert!(is_lock_node(b"k/7fffffffffffffff", i64::MAX));
        assert_eq!(lease_in(b"k/8000000000000000"), None);
    }
}
