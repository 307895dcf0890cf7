//! The harness is tested itself: a fault that is not there would let a wrong store pass.

mod proxies;
mod servers;
