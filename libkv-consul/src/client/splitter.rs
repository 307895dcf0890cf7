//! Finds the elements of a JSON array in pieces of it, so that a long answer is never held whole.

use bytes::{Bytes, BytesMut};

/// Splits a JSON array of objects into its objects, however it is cut into pieces. What is inside an
/// object is not looked at further than to find its end.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    text: BytesMut,
    /// How much of the text was looked at: it holds no end of an object.
    seen: usize,
    state: State,
    /// How many brackets are open inside the array.
    depth: usize,
    in_string: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// After the opening bracket: an object, or the end.
    First,
    /// After a comma: an object.
    Next,
    Object,
    /// After an object: a comma, or the end.
    Between,
    End,
}

/// The text is no array of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoArray;

impl std::fmt::Display for NoArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no JSON array of objects")
    }
}

impl std::error::Error for NoArray {}

impl Splitter {
    /// Takes the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.text.extend_from_slice(piece);
    }

    /// The next object; none if the pieces so far hold no further end of one.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, NoArray> {
        while self.seen < self.text.len() {
            if self.state == State::Object {
                if !self.find_end() {
                    return Ok(None);
                }
                self.state = State::Between;
                let object = self.text.split_to(self.seen).freeze();
                self.seen = 0;
                return Ok(Some(object));
            }
            let byte = self.text[self.seen];
            self.state = match (self.state, byte) {
                (state, b' ' | b'\t' | b'\n' | b'\r') => state,
                (State::Start, b'[') => State::First,
                (State::First | State::Next, b'{') => {
                    // The object begins here, and what stood before is done with.
                    let _ = self.text.split_to(self.seen);
                    (self.seen, self.depth) = (0, 0);
                    State::Object
                }
                (State::First | State::Between, b']') => State::End,
                (State::Between, b',') => State::Next,
                _ => return Err(NoArray),
            };
            if self.state != State::Object {
                self.seen += 1;
            }
        }
        if self.state != State::Object {
            self.text.clear();
            self.seen = 0;
        }
        Ok(None)
    }

    /// Whether the array is closed, and nothing but space stood behind it.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::End && self.seen == self.text.len()
    }

    /// Goes on to the end of the object; false if the text ends before.
    fn find_end(&mut self) -> bool {
        while self.seen < self.text.len() {
            if self.in_string {
                if !self.find_quote() {
                    return false;
                }
                continue;
            }
            let byte = self.text[self.seen];
            self.seen += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    // The first bracket of an object was an opening one.
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// Goes on behind the end of the string; false if the text ends before.
    fn find_quote(&mut self) -> bool {
        loop {
            let rest = &self.text[self.seen..];
            let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                self.seen = self.text.len();
                return false;
            };
            if rest[at] == b'"' {
                self.seen += at + 1;
                self.in_string = false;
                return true;
            }
            // What is escaped must be there too, or else it would be taken for the end.
            if at + 1 == rest.len() {
                self.seen += at;
                return false;
            }
            self.seen += at + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Result<(Vec<String>, bool), NoArray> {
        let (mut splitter, mut objects) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.feed(piece);
            while let Some(object) = splitter.next()? {
                objects.push(String::from_utf8_lossy(&object).into_owned());
            }
        }
        Ok((objects, splitter.is_complete()))
    }

    #[test]
    fn objects_are_found_wherever_the_text_is_cut() {
        let text = b" [ {\"a\":\"x\\\"}],{\\\\\",\"b\":{\"c\":[1,{}]}} ,\n{},{\"k\":\"\"} ] \n";
        let expected = ["{\"a\":\"x\\\"}],{\\\\\",\"b\":{\"c\":[1,{}]}}", "{}", "{\"k\":\"\"}"]
            .map(str::to_owned);
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(split(&pieces), Ok((expected.to_vec(), true)), "{first} {second}");
            }
        }
        let single: Vec<_> = text.chunks(1).collect();
        assert_eq!(split(&single), Ok((expected.to_vec(), true)));
    }

    #[test]
    fn a_text_that_breaks_off_is_not_complete() {
        let text = br#"[{"a":"}"},{"b":1}]"#;
        for end in 0..text.len() {
            let (objects, complete) = split(&[&text[..end]]).unwrap();
            assert!(!complete && objects.len() <= 2, "{end}");
        }
        assert_eq!(
            split(&[text]).map(|(objects, complete)| (objects.len(), complete)),
            Ok((2, true))
        );
        assert_eq!(split(&[b"[]"]), Ok((vec![], true)));
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused() {
        for text in
            ["null", "{}", "[1]", "[{},]", "[{}{}]", "[,{}]", "[{}]x", "[]]", "<html>", "[\"\"]"]
        {
            assert_eq!(split(&[text.as_bytes()]), Err(NoArray), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_survive_any_cuts(
            texts in proptest::collection::vec(any::<String>(), 0..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let objects: Vec<_> =
                texts.iter().map(|text| serde_json::json!({ text: text }).to_string()).collect();
            let whole = format!("[{}]", objects.join(","));
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> =
                cuts.windows(2).map(|cut| &whole.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(split(&pieces), Ok((objects, true)));
        }

        #[test]
        fn no_bytes_do_harm(pieces in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"[]{},\"\\ ".to_vec())],
                0..24,
            ),
            0..6,
        )) {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            let whole = pieces.concat();
            let cut = split(&pieces);
            let complete = |split: &Result<(Vec<String>, bool), NoArray>| {
                split.as_ref().is_ok_and(|(_, complete)| *complete)
            };
            // Whatever the cuts, it is judged the same.
            prop_assert_eq!(complete(&cut), complete(&split(&[&whole])));
        }
    }
}
