//! Section 5: outcomes and errors.
