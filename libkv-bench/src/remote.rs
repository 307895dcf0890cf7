//! A store on a server, beside a client for that server by itself, both in turn.

mod child;
mod counter;
mod keys;
mod locks;
mod server;
mod watches;

use std::future::Future;

use libkv_core::WatchTarget;

pub(crate) use self::child::{COMMAND, CROWD, Found, OPS_OF_CROWD, WATCHES, child};
pub(crate) use self::counter::{Counting, number};
pub(crate) use self::keys::{KEYS, OPS_OF_ONE, Singles, filled};
pub(crate) use self::locks::Locked;
pub(crate) use self::server::{Calls, DATA, Kind, Server, free_addresses};
use crate::lab::{Done, Lab};
use crate::sides::Ours;
use crate::table::Aim;
use crate::watched::Watched;
use crate::{Options, place, table};

/// As fast as the client by itself, give or take what two runs of one program differ by.
const SAME_TIME: Aim = Aim::Ratio(1.05);

/// What is measured.
pub(crate) trait Subject: 'static {
    type Bare: Bare;

    /// What it is called as an argument.
    const NAME: &'static str;
    const SERVER: Kind;
    /// What stands beside ours: the client, how it lists, and how it locks.
    const CLIENT: &'static str;
    const LISTING: &'static str;
    const LOCKING: &'static str;
    /// How the two sides differ, for who reads the figures.
    const FAIRNESS: &'static str;
    /// The fewest calls of a lock and its release, alone and with contenders. Where the latter
    /// depend on who comes first, those of the client are shown instead.
    const LOCK_CALLS: (f64, Option<f64>);
    const WATCHES: Watches;

    /// What the watch with this number watches, of many.
    fn target(number: usize) -> Done<WatchTarget>;

    /// A store of ours, below a root.
    fn ours(address: &str, root: &str) -> impl Future<Output = Done<Ours>> + Send;

    /// Changes all that the many watches watch. It makes what they are to find, and after them a
    /// server that has not noticed that nobody waits any more.
    fn disturb(address: &str) -> impl Future<Output = Done> + Send;

    /// Measures what no other server has.
    fn besides(lab: &mut Lab, server: &Server) -> Done;
}

/// A client as a program would use it by itself.
pub(crate) trait Bare: Watched + Counting {
    type Lock: Locked;

    /// A client whose names are those of our store with this root.
    fn connect(address: &str, root: &str) -> impl Future<Output = Done<Self>> + Send;

    fn lock(&self) -> Self::Lock;
}

/// Many watches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watches {
    pub(crate) number: usize,
    /// What they are called in the names of lines, and what stands beside them.
    pub(crate) written: &'static str,
    pub(crate) beside: &'static str,
    /// The growth of memory that ours are to keep to.
    pub(crate) aim: Aim,
}

pub(crate) fn measure<S: Subject>(options: &Options) -> Done {
    let mut lab = Lab::new(options.rounds, options.only.clone())?;
    let server = Server::find_or_start(S::NAME, S::SERVER)?;
    println!("{}, {}", place::describe()?, server.describe()?);
    println!("{}\n{}\n\n{}", table::legend(options.rounds), S::FAIRNESS, table::header(true));
    keys::measure::<S>(&mut lab, &server)?;
    counter::measure::<S>(&mut lab, &server)?;
    locks::measure::<S>(&mut lab, &server)?;
    watches::measure::<S>(&mut lab, &server)?;
    child::measure::<S>(&mut lab, &server)?;
    S::besides(&mut lab, &server)?;
    println!("\n{}; load {} at the end", lab.summary(), place::load());
    Ok(())
}

/// Both sides, connected, below a root.
async fn both<S: Subject>(address: &str, root: &str) -> Done<(Ours, S::Bare)> {
    Ok((S::ours(address, root).await?, S::Bare::connect(address, root).await?))
}
