//! Section 2 of the contract: keys, and what they are called in the store.

use crate::{Fixture, key};

/// A key is text in segments and prints without slashes at its ends.
pub async fn a_key_is_text_in_segments(_: &Fixture) {
    assert_eq!(key("/a/b/").to_string(), "a/b");
}
