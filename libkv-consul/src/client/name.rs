//! What a key's name is in the path of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Span;

/// What stands as it is: what no URL changes, and the slash between segments.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Which characters an agent takes in a path. It refuses those that its table of Unicode calls
/// unprintable, and which these are depends on its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Printable ASCII, letters and digits: all but the newest are in every table.
    Letters,
    /// What no table can call unprintable.
    Ascii,
}

impl Alphabet {
    fn has(self, c: char) -> bool {
        let letter = self == Self::Letters && c.is_alphanumeric();
        c == ' ' || c.is_ascii_graphic() || letter
    }
}

/// Encodes a name for a path, each byte once; none if it would arrive as another name: URLs fold
/// `.` and `..`, and the agent folds `//`.
pub(crate) fn encoded(name: &str, alphabet: Alphabet) -> Option<String> {
    let carried = longest(name, alphabet) == name;
    carried.then(|| utf8_percent_encode(name, PATH).to_string())
}

/// How a span is asked for: a path to read with all that begins with it, and what to keep of that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: String,
    /// The path is a prefix, though it may be that of one name.
    pub(crate) recurse: bool,
    /// What of the answer is asked for, where the path has to stop before the name does.
    pub(crate) only: Option<Span>,
}

impl Place {
    pub(crate) fn of(span: &Span, alphabet: Alphabet) -> Self {
        let (name, recurse) = match span {
            Span::One(name) => (name, false),
            Span::Prefix(name) => (name, true),
        };
        let carried = longest(name, alphabet);
        let path = utf8_percent_encode(carried, PATH).to_string();
        // Without a name there is nothing to read but all.
        let whole = carried == name && (recurse || !name.is_empty());
        match whole {
            true => Self { path, recurse, only: None },
            false => Self { path, recurse: true, only: Some(span.clone()) },
        }
    }
}

/// The longest beginning of a name that arrives as it is.
fn longest(name: &str, alphabet: Alphabet) -> &str {
    let printable = name.find(|c| !alphabet.has(c)).unwrap_or(name.len());
    let mut begin = 0;
    for segment in name[..printable].split('/') {
        let end = begin + segment.len();
        let last = end == name.len();
        // A segment that was cut could end up as one of these by it.
        let folded = matches!(segment, "." | "..") || (segment.is_empty() && !last);
        if folded {
            return &name[..begin];
        }
        begin = end + 1;
    }
    &name[..printable]
}

#[cfg(test)]
mod tests {
    use super::Alphabet::{Ascii, Letters};
    use super::*;

    #[test]
    fn a_name_is_encoded_once() {
        for (name, path) in [
            ("a/b", "a/b"),
            ("a/", "a/"),
            ("", ""),
            ("a b?c#d%e&f=g+h", "a%20b%3Fc%23d%25e%26f%3Dg%2Bh"),
            ("a%20b", "a%2520b"),
            ("uni/é", "uni/%C3%A9"),
            (".lock/...", ".lock/..."),
            ("a\\b", "a%5Cb"),
        ] {
            assert_eq!(encoded(name, Letters).as_deref(), Some(path), "{name}");
        }
    }

    #[test]
    fn what_would_arrive_as_another_name_is_asked_for_by_what_stands_before_it() {
        for (name, carried) in [
            ("a/./b", "a/"),
            ("a/..", "a/"),
            ("..", ""),
            ("/a", ""),
            ("a//b", "a/"),
            ("a//", "a/"),
            ("a\u{200b}b", "a"),
            ("a/.\u{200b}", "a/"),
            ("a/\u{a0}/c", "a/"),
            ("\u{a0}", ""),
            ("a\n", "a"),
        ] {
            assert_eq!(encoded(name, Letters), None, "{name:?}");
            for span in [Span::One(name.to_owned()), Span::Prefix(name.to_owned())] {
                let place = Place::of(&span, Letters);
                let path = utf8_percent_encode(carried, PATH).to_string();
                assert_eq!(place, Place { path, recurse: true, only: Some(span) });
            }
        }
        assert_eq!(encoded("é", Ascii), None);
    }

    #[test]
    fn what_arrives_is_asked_for_as_it_is() {
        let place = Place::of(&Span::One("a/é".to_owned()), Letters);
        assert_eq!(place, Place { path: "a/%C3%A9".to_owned(), recurse: false, only: None });
        let place = Place::of(&Span::Prefix(String::new()), Letters);
        assert_eq!(place, Place { path: String::new(), recurse: true, only: None });
    }
}
