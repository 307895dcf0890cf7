//! Section 4: list and delete_tree.
