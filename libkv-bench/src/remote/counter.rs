//! Increments of a counter by compare-and-set, one after the other.

use std::future::Future;
use std::time::Instant;

use libkv_core::{Expect, Key, Store, StoreExt, Version};

use super::server::Server;
use super::{SAME_TIME, Subject, both};
use crate::lab::{Done, Lab, Sample};
use crate::sides::Ours;
use crate::table::{Aim, Unit};

const COUNTER: &str = "counter";
/// Of one turn; a round has 2,000.
const INCREMENTS: usize = 400;
/// A compare and a put in one transaction; before it a get, where the version is not known.
const FEWEST_CALLS: f64 = 1.0;

/// Whether an increment knows the version from the one before, or reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Read,
    Before,
}

/// A side that can count.
pub(crate) trait Counting: Clone + Send + Sync + 'static {
    type Version: Send;

    fn read(&self, key: &Key) -> impl Future<Output = Done<(u64, Self::Version)>> + Send;

    /// Writes a number, if nobody has written since this version.
    fn write(
        &self,
        key: &Key,
        number: u64,
        after: Self::Version,
    ) -> impl Future<Output = Done<Self::Version>> + Send;
}

pub(super) fn measure<S: Subject>(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("compare-and-set") && !lab.wants_some_of("calls of a compare-and-set") {
        return Ok(());
    }
    let address = server.address.clone();
    let (ours, bare) = lab.run(async move {
        let sides = both::<S>(&address, "").await?;
        sides.0.0.put(COUNTER, 0_u64.to_le_bytes().to_vec()).await?;
        Ok(sides)
    })?;
    for (from, words) in [(From::Read, "after a read"), (From::Before, "version known")] {
        lab.compare(
            &format!("compare-and-set, {words} ({})", S::CLIENT),
            Unit::Seconds,
            SAME_TIME,
            |lab| Sample::with_cpu(INCREMENTS, || lab.run(count(ours.clone(), from))),
            |lab| Sample::with_cpu(INCREMENTS, || lab.run(count(bare.clone(), from))),
        )?;
        let reads = if from == From::Read { 1.0 } else { 0.0 };
        lab.compare(
            &format!("calls of a compare-and-set, {words} (minimum)"),
            Unit::Count,
            Aim::Ratio(1.0),
            |lab| {
                let before = server.calls()?.answered;
                lab.run(count(ours.clone(), from))?;
                let calls = server.calls()?.answered - before;
                // The first of all is read in any case.
                Ok((calls - 1.0) / INCREMENTS as f64)
            },
            |_| Ok(FEWEST_CALLS + reads),
        )?;
    }
    Ok(())
}

async fn count<C: Counting>(side: C, from: From) -> Done<f64> {
    let key = Key::new(COUNTER)?;
    let (mut number, mut version) = side.read(&key).await?;
    let last = number + INCREMENTS as u64;
    let begun = Instant::now();
    while number < last {
        if from == From::Read {
            (number, version) = side.read(&key).await?;
        }
        number += 1;
        version = side.write(&key, number, version).await?;
    }
    Ok(begun.elapsed().as_secs_f64() / INCREMENTS as f64)
}

impl Counting for Ours {
    type Version = Version;

    async fn read(&self, key: &Key) -> Done<(u64, Version)> {
        let pair = self.0.get(key).await?;
        Ok((number(&pair.value)?, pair.version))
    }

    async fn write(&self, key: &Key, number: u64, after: Version) -> Done<Version> {
        let value = number.to_le_bytes().to_vec().into();
        Ok(self.0.put_opts(key, value, Expect::Version(after).into()).await?)
    }
}

/// The number that a value is.
pub(crate) fn number(value: &[u8]) -> Done<u64> {
    Ok(u64::from_le_bytes(value.try_into()?))
}
