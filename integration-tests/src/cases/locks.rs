//! Section 7: taking and releasing locks.
