//! Section 7: locks with a value, and lock nodes.
