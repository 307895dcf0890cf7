//! Section 4: get, exists, update and consistency.
