//! Section 9: opening a store.
