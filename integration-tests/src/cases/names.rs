//! Section 2: what is called how in the store, and what its root hides.
