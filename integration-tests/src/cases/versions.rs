//! Section 3: versions.
