//! Section 6: gaps and how they are made good.
