//! Section 8: session, state and tracing.
