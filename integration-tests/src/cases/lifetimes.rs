//! Section 4: times to live and ephemeral keys.
