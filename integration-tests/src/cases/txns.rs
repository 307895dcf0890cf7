//! Section 4: transactions.
