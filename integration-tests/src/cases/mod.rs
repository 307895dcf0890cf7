//! The cases. Each takes a fixture and panics where the backend breaks the contract.

pub mod capabilities;
pub mod closing;
pub mod guards;
pub mod keys;
pub mod lifetimes;
pub mod limits;
pub mod lists;
pub mod lock_values;
pub mod locks;
pub mod losses;
pub mod names;
pub mod opening;
pub mod outcomes;
pub mod races;
pub mod reads;
pub mod resyncs;
pub mod sessions;
pub mod trees;
pub mod txns;
pub mod updates;
pub mod versions;
pub mod watch_races;
pub mod watches;
pub mod writes;
