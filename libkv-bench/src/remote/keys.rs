use std::sync::Arc;

use super::server::Server;
use super::{SAME_TIME, Subject, both};
use crate::lab::{Done, Lab, Sample};
use crate::load;
use crate::memory::counted;
use crate::sides::{Name, Ours, Side};
use crate::table::{Aim, Unit};

pub(crate) const KEYS: usize = 2_000;
pub(crate) const OPS_OF_ONE: usize = 400;
/// Of each of several tasks.
const OPS_OF_EACH: usize = 80;
/// Nineteen twentieths of the other side's throughput.
const SAME_THROUGHPUT: Aim = Aim::Ratio(1.0 / 0.95);
/// How many keys are listed, how that is written, below which root, and how long it may take.
const LISTS: [(usize, &str, &str, Aim); 2] = [
    (10_000, "10,000", "list-10k", Aim::Nothing),
    (LISTED_KEYS, "100,000", LISTED_ROOT, Aim::Ratio(1.1)),
];
pub(super) const LISTED_KEYS: usize = 100_000;
pub(super) const LISTED_ROOT: &str = "list-100k";

pub(super) fn measure<S: Subject>(lab: &mut Lab, server: &Server) -> Done {
    if ["get", "put", "calls of a get", "calls of a put"]
        .iter()
        .any(|section| lab.wants_some_of(section))
    {
        single::<S>(lab, server)?;
    }
    for (keys, written, root, aim) in LISTS {
        if !lab.wants_some_of("list") {
            continue;
        }
        let (ours, bare) = filled::<S>(lab, server, root, keys)?;
        lab.compare(
            &format!("list of {written} keys ({})", S::LISTING),
            Unit::Seconds,
            aim,
            |lab| Sample::with_cpu(1, || lab.run(load::list(ours.clone(), keys))),
            |lab| Sample::with_cpu(1, || lab.run(load::list(bare.clone(), keys))),
        )?;
        lab.compare(
            &format!("list of {written} keys as a stream ({})", S::LISTING),
            Unit::Seconds,
            Aim::Nothing,
            |lab| Sample::with_cpu(1, || lab.run(load::walk(ours.clone(), keys))),
            |lab| Sample::with_cpu(1, || lab.run(load::walk(bare.clone(), keys))),
        )?;
    }
    Ok(())
}

fn single<S: Subject>(lab: &mut Lab, server: &Server) -> Done {
    let (ours, bare) = filled::<S>(lab, server, "", KEYS)?;
    let singles = Singles { ours: ours.clone(), bare, names: load::names(KEYS)? };
    for (tasks, aim) in [(1, SAME_TIME), (64, SAME_THROUGHPUT)] {
        let rest = format!("{} ({})", counted(tasks), S::CLIENT);
        singles.gets(lab, &format!("get, {rest}"), aim, tasks)?;
        singles.puts(lab, &format!("put, {rest}"), aim, tasks)?;
    }
    let names = singles.names;
    for (name, put) in [("calls of a get (minimum)", false), ("calls of a put (minimum)", true)] {
        lab.compare(
            name,
            Unit::Count,
            Aim::Ratio(1.0),
            |lab| {
                let (ours, names) = (ours.clone(), names.clone());
                let before = server.calls()?.answered;
                if put {
                    lab.run(load::puts(ours, names, 1, OPS_OF_ONE))?;
                } else {
                    lab.run(load::gets(ours, names, 1, OPS_OF_ONE))?;
                }
                Ok((server.calls()?.answered - before) / OPS_OF_ONE as f64)
            },
            |_| Ok(1.0),
        )?;
    }
    Ok(())
}

/// Both sides, for single calls with some keys.
pub(crate) struct Singles<B> {
    pub(crate) ours: Ours,
    pub(crate) bare: B,
    pub(crate) names: Arc<[Name]>,
}

impl<B: Side> Singles<B> {
    pub(crate) fn gets(&self, lab: &mut Lab, name: &str, aim: Aim, tasks: usize) -> Done {
        let ops = ops(tasks);
        lab.compare(
            name,
            Unit::Seconds,
            aim,
            |lab| {
                let gets = load::gets(self.ours.clone(), self.names.clone(), tasks, ops);
                Sample::with_cpu(ops, || lab.run(gets))
            },
            |lab| {
                let gets = load::gets(self.bare.clone(), self.names.clone(), tasks, ops);
                Sample::with_cpu(ops, || lab.run(gets))
            },
        )
    }

    pub(crate) fn puts(&self, lab: &mut Lab, name: &str, aim: Aim, tasks: usize) -> Done {
        let ops = ops(tasks);
        lab.compare(
            name,
            Unit::Seconds,
            aim,
            |lab| {
                let puts = load::puts(self.ours.clone(), self.names.clone(), tasks, ops);
                Sample::with_cpu(ops, || lab.run(puts))
            },
            |lab| {
                let puts = load::puts(self.bare.clone(), self.names.clone(), tasks, ops);
                Sample::with_cpu(ops, || lab.run(puts))
            },
        )
    }
}

/// How many operations a turn of so many tasks has.
fn ops(tasks: usize) -> usize {
    if tasks == 1 { OPS_OF_ONE } else { tasks * OPS_OF_EACH }
}

/// Both sides below a root with so many keys, which are put where they are not there.
pub(crate) fn filled<S: Subject>(
    lab: &Lab,
    server: &Server,
    root: &str,
    keys: usize,
) -> Done<(Ours, S::Bare)> {
    let (address, root) = (server.address.clone(), root.to_owned());
    let names = load::names(keys)?;
    lab.run(async move {
        let (ours, bare) = both::<S>(&address, &root).await?;
        if bare.list().await? != keys {
            load::fill(ours.clone(), names).await?;
        }
        Ok((ours, bare))
    })
}
