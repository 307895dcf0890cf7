//! Section 4: close.
