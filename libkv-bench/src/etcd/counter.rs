//! Increments of a counter by compare-and-set, one after the other.

use std::time::Instant;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use libkv_core::{Expect, Key, Store, StoreExt};

use super::SAME_TIME;
use super::server::Server;
use super::sides::{Bare, ours};
use crate::lab::{Done, Lab, Sample};
use crate::sides::Ours;
use crate::table::{Aim, Unit};

const KEY: &str = "counter";
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

pub(crate) fn measure(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("compare-and-set") && !lab.wants_some_of("calls of a compare-and-set") {
        return Ok(());
    }
    let address = server.address.clone();
    let (ours, bare) = lab.run(async move {
        let (ours, bare) = (ours(&address, "").await?, Bare::connect(&address, "").await?);
        ours.0.put(KEY, 0_u64.to_le_bytes().to_vec()).await?;
        Ok((ours, bare))
    })?;
    for (from, words) in [(From::Read, "after a read"), (From::Before, "version known")] {
        lab.compare(
            &format!("compare-and-set, {words} (etcd-client)"),
            Unit::Seconds,
            SAME_TIME,
            |lab| Sample::with_cpu(INCREMENTS, || lab.run(count(ours.clone(), from))),
            |lab| Sample::with_cpu(INCREMENTS, || lab.run(count_bare(bare.clone(), from))),
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

async fn count(side: Ours, from: From) -> Done<f64> {
    let key = Key::new(KEY)?;
    let pair = side.0.get(&key).await?;
    let (mut number, mut version) = (number(&pair.value)?, pair.version);
    let last = number + INCREMENTS as u64;
    let begun = Instant::now();
    while number < last {
        if from == From::Read {
            let pair = side.0.get(&key).await?;
            (number, version) = (self::number(&pair.value)?, pair.version);
        }
        number += 1;
        let value = number.to_le_bytes().to_vec().into();
        version = side.0.put_opts(&key, value, Expect::Version(version).into()).await?;
    }
    Ok(begun.elapsed().as_secs_f64() / INCREMENTS as f64)
}

async fn count_bare(side: Bare, from: From) -> Done<f64> {
    let mut client = side.client.kv_client();
    let answer = client.get(KEY, None).await?;
    let pair = answer.kvs().first().ok_or("no counter")?;
    let (mut number, mut revision) = (number(pair.value())?, pair.mod_revision());
    let last = number + INCREMENTS as u64;
    let begun = Instant::now();
    while number < last {
        if from == From::Read {
            let answer = client.get(KEY, None).await?;
            let pair = answer.kvs().first().ok_or("no counter")?;
            (number, revision) = (self::number(pair.value())?, pair.mod_revision());
        }
        number += 1;
        let same = Compare::mod_revision(KEY, CompareOp::Equal, revision);
        let put = TxnOp::put(KEY, number.to_le_bytes(), None);
        let done = client.txn(Txn::new().when([same]).and_then([put])).await?;
        if !done.succeeded() {
            return Err("somebody else counts".into());
        }
        revision = done.header().map_or(0, |header| header.revision());
    }
    Ok(begun.elapsed().as_secs_f64() / INCREMENTS as f64)
}

fn number(value: &[u8]) -> Done<u64> {
    Ok(u64::from_le_bytes(value.try_into()?))
}
