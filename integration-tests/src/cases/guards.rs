//! Section 7: tokens, loss and fences.
