//! The store in etcd beside etcd's client by itself, on one server in turn.

mod child;
mod counter;
mod keys;
mod locks;
mod server;
mod sides;
mod watches;

pub(crate) use self::child::{COMMAND, child};
use self::server::Server;
use crate::lab::{Done, Lab};
use crate::{Options, place, table};

/// As fast as the client by itself, give or take what two runs of one program differ by.
const SAME_TIME: table::Aim = table::Aim::Ratio(1.05);

const FAIRNESS: &str = "\
Both sides have one runtime and the same keys on one server. Beside is etcd-client with its defaults
and one connection, cloned for each call as its API asks of tasks that share it; ours has one
connection each for calls, leases, watches and lists. The cpu columns are the processor's time of
this process for one operation.";

pub(crate) fn measure(options: &Options) -> Done {
    let mut lab = Lab::new(options.rounds, options.only.clone())?;
    let server = Server::find_or_start()?;
    println!("{}, {}", place::describe()?, server.describe()?);
    println!("{}\n{FAIRNESS}\n\n{}", table::legend(options.rounds), table::header(true));
    keys::measure(&mut lab, &server)?;
    counter::measure(&mut lab, &server)?;
    locks::measure(&mut lab, &server)?;
    watches::measure(&mut lab, &server)?;
    child::measure(&mut lab, &server)?;
    println!("\n{}; load {} at the end", lab.summary(), place::load());
    Ok(())
}
