use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result};

/// The longest key, in bytes of UTF-8, after folding.
pub const MAX_KEY_BYTES: usize = 512;

/// The name that ZooKeeper keeps for itself at its top level.
const RESERVED_FIRST_SEGMENT: &str = "zookeeper";

/// A name in the store: UTF-8 text in segments separated by `/`.
///
/// A key is parsed once and then passed around; cloning is cheap. Leading, trailing and doubled
/// slashes are folded, so `/a//b/`, `a/b/` and `a/b` are the same key, which prints as `a/b`. Keys
/// are ordered by the UTF-8 bytes of that text, so `a`, `a-b`, `a/b` is ascending.
///
/// ```
/// use libkv_core::Key;
///
/// let key = Key::new("/config//db/")?;
/// assert_eq!(key.as_str(), "config/db");
/// assert_eq!(key.segments().collect::<Vec<_>>(), ["config", "db"]);
/// # Ok::<(), libkv_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`], with the reason and the byte offset in `text`, for a segment `.`
    /// or `..`, a character that one of the servers cannot hold, white space at either end of a
    /// segment, a first segment `zookeeper`, and for more than [`MAX_KEY_BYTES`] bytes.
    pub fn new(text: &str) -> Result<Self> {
        if is_plain(text) {
            return Ok(Self(text.into()));
        }
        check(text)?;
        let folded = if is_folded(text) { text.into() } else { fold(text).into() };
        Ok(Self(folded))
    }

    /// The place above all keys, for calls on a whole tree. It holds no value.
    pub fn root() -> Self {
        Self("".into())
    }

    /// Whether this is [`Key::root`].
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folded text, without a slash at either end; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes; none for the root.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The last segment; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The key one level up, which is the root for a key of one segment; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.rsplit_once('/').map_or_else(Self::root, |(parent, _)| Self(parent.into())))
    }

    /// The key `rest` levels below this one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] as for [`Key::new`].
    pub fn join(&self, rest: &str) -> Result<Self> {
        if self.is_root() {
            return Self::new(rest);
        }
        Self::new(&format!("{}/{rest}", self.0))
    }

    /// Whether this key is strictly below `dir`, by segments: `apple` is not below `app`.
    pub fn is_below(&self, dir: &Self) -> bool {
        self.below(dir).is_some()
    }

    /// What is left of this key below `dir`, without a leading slash; `None` if it is not below.
    pub fn below(&self, dir: &Self) -> Option<&str> {
        if dir.is_root() {
            return (!self.is_root()).then_some(self.as_str());
        }
        self.0.strip_prefix(dir.as_str())?.strip_prefix('/')
    }

    /// How many segments this key is below `dir`; `None` if it is not below.
    pub fn depth_below(&self, dir: &Self) -> Option<usize> {
        self.below(dir).map(|rest| 1 + rest.bytes().filter(|b| *b == b'/').count())
    }

    /// Returns this key, or the error that a call on one key gives for the root.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for the root.
    pub fn not_root(&self, operation: &'static str) -> Result<&Self> {
        if self.is_root() {
            return Err(Error::local(ErrorKind::InvalidKey, operation)
                .with_key(self)
                .with_detail("the root holds no value and cannot be locked; name a key below it"));
        }
        Ok(self)
    }
}

/// Whether the text is certainly a key as it stands, found out in one pass over its bytes. Most keys
/// are; a listing makes one of every name it finds. What is not plain may be a key all the same.
fn is_plain(text: &str) -> bool {
    let mut last = b'/';
    for byte in text.bytes() {
        let starts_segment = last == b'/';
        if !byte.is_ascii_graphic() || (starts_segment && matches!(byte, b'/' | b'.')) {
            return false;
        }
        last = byte;
    }
    last != b'/' && text.len() <= MAX_KEY_BYTES && !text.starts_with(RESERVED_FIRST_SEGMENT)
}

fn check(text: &str) -> Result<()> {
    let invalid = |offset: usize, reason: &str| {
        Error::local(ErrorKind::InvalidKey, "key")
            .with_detail(format!("{reason} at byte {offset} of {:?}", shorten(text)))
    };
    if let Some((offset, c)) = text.char_indices().find(|(_, c)| is_refused(*c)) {
        return Err(invalid(offset, &format!("character {:?}, which not every server holds,", c)));
    }
    let mut offset = 0;
    let mut folded_bytes = 0;
    for segment in text.split('/') {
        if segment == "." || segment == ".." {
            return Err(invalid(offset, &format!("segment {segment:?}, which is no name,")));
        }
        if !segment.is_empty() {
            if segment.starts_with(char::is_whitespace) {
                return Err(invalid(offset, "white space at the start of a segment"));
            }
            if segment.ends_with(char::is_whitespace) {
                let end = offset + segment.trim_end().len();
                return Err(invalid(end, "white space at the end of a segment"));
            }
            if folded_bytes == 0 && segment == RESERVED_FIRST_SEGMENT {
                return Err(invalid(offset, "first segment \"zookeeper\", reserved by ZooKeeper,"));
            }
            folded_bytes += segment.len() + usize::from(folded_bytes > 0);
            if folded_bytes > MAX_KEY_BYTES {
                return Err(invalid(
                    offset + segment.len() - (folded_bytes - MAX_KEY_BYTES),
                    &format!("more than {MAX_KEY_BYTES} bytes"),
                ));
            }
        }
        offset += segment.len() + 1;
    }
    Ok(())
}

/// Control characters, and those that ZooKeeper's `PathUtils.validatePath` refuses: it looks at the
/// units of UTF-16 and takes none of U+D800 to U+F8FF, which are the halves of every character above
/// U+FFFF too, and none of U+FFF0 to U+FFFF.
fn is_refused(c: char) -> bool {
    c.is_control() || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

fn is_folded(text: &str) -> bool {
    !text.starts_with('/') && !text.ends_with('/') && !text.contains("//")
}

fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        if !folded.is_empty() {
            folded.push('/');
        }
        folded.push_str(segment);
    }
    folded
}

/// Keeps an error on one line however long the text was.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.pad("/");
        }
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.as_str())
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// Checks the text and keeps its allocation where it is folded already.
impl TryFrom<Arc<str>> for Key {
    type Error = Error;

    fn try_from(text: Arc<str>) -> Result<Self> {
        if is_plain(&text) {
            return Ok(Self(text));
        }
        check(&text)?;
        if is_folded(&text) { Ok(Self(text)) } else { Ok(Self(fold(&text).into())) }
    }
}

/// Shares the key's text.
impl From<&Key> for Arc<str> {
    fn from(key: &Key) -> Self {
        key.0.clone()
    }
}

/// What is accepted wherever a user passes a key: a [`Key`] or text that becomes one.
pub trait IntoKey {
    /// Parses where that is still to be done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] as for [`Key::new`].
    fn into_key(self) -> Result<Key>;
}

impl IntoKey for Key {
    fn into_key(self) -> Result<Key> {
        Ok(self)
    }
}

impl IntoKey for &Key {
    fn into_key(self) -> Result<Key> {
        Ok(self.clone())
    }
}

impl IntoKey for &str {
    fn into_key(self) -> Result<Key> {
        Key::new(self)
    }
}

impl IntoKey for String {
    fn into_key(self) -> Result<Key> {
        Key::new(&self)
    }
}

impl IntoKey for &String {
    fn into_key(self) -> Result<Key> {
        Key::new(self)
    }
}

#[cfg(test)]
mod tests;
