//! Section 4: put, delete and their conditions.
