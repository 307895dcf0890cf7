//! Section 6: watches.
