//! Section 10: capabilities, each with both answers.
