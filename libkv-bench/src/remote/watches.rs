use std::time::Instant;

use libkv_core::WatchTarget;
use tokio::sync::mpsc;

use super::server::Server;
use super::{SAME_TIME, Subject, both};
use crate::lab::{Done, Lab, Sample};
use crate::load;
use crate::sides::{Name, Side};
use crate::table::{Aim, Unit, median};
use crate::watched::{Watched, Watching};

/// Of one turn; a round has 1,000. The first byte of a value tells them apart.
const PUTS: u8 = 200;

pub(super) fn measure<S: Subject>(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("watch") {
        return Ok(());
    }
    let address = server.address.clone();
    let (ours, bare) = lab.run(async move {
        let (ours, bare) = both::<S>(&address, "").await?;
        ours.put(&Name::new(0)?, load::value(0)).await?;
        Ok((ours, bare))
    })?;
    let puts = usize::from(PUTS);
    lab.compare(
        &format!("watch, put by the same task ({})", S::CLIENT),
        Unit::Seconds,
        SAME_TIME,
        |lab| Sample::with_cpu(puts, || lab.run(by_same(ours.clone()))),
        |lab| Sample::with_cpu(puts, || lab.run(by_same(bare.clone()))),
    )?;
    lab.compare(
        &format!("watch, put by another task ({})", S::CLIENT),
        Unit::Seconds,
        SAME_TIME,
        |lab| Sample::with_cpu(puts, || Ok(lab.run(by_another(ours.clone()))?.0)),
        |lab| Sample::with_cpu(puts, || Ok(lab.run(by_another(bare.clone()))?.0)),
    )?;
    lab.compare(
        &format!("watch, of {PUTS} such puts not seen ({})", S::CLIENT),
        Unit::Count,
        Aim::Nothing,
        |lab| Ok(lab.run(by_another(ours.clone()))?.1),
        |lab| Ok(lab.run(by_another(bare.clone()))?.1),
    )
}

/// The median of the seconds from the call of a put to its event, each waited for before the next.
async fn by_same<S: Watched>(side: S) -> Done<f64> {
    let name = Name::new(0)?;
    let mut watch = side.watch(&WatchTarget::Key(name.key().clone())).await?;
    let mut took = Vec::new();
    for put in 0..PUTS {
        let called = Instant::now();
        side.put(&name, load::value(put.into())).await?;
        while watch.next().await? != put {}
        took.push(called.elapsed().as_secs_f64());
    }
    Ok(median(&took))
}

/// The same, while another task puts one after the other and waits for no event. Also returns how
/// many puts had no event, since a later one was before it.
async fn by_another<S: Watched>(side: S) -> Done<(f64, f64)> {
    let name = Name::new(0)?;
    let mut watch = side.watch(&WatchTarget::Key(name.key().clone())).await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        for put in 0..PUTS {
            // Who watches has gone where this fails, and says why.
            let _ = tell.send(Instant::now());
            side.put(&name, load::value(put.into())).await?;
        }
        Done::Ok(())
    });
    let (mut called, mut took) = (Vec::new(), Vec::new());
    let mut seen = 0;
    while seen < PUTS {
        let put = usize::from(watch.next().await?);
        while called.len() <= put {
            called.push(told.recv().await.ok_or("the writer is gone")?);
        }
        took.push(called[put].elapsed().as_secs_f64());
        seen = u8::try_from(put + 1)?;
    }
    writer.await??;
    Ok((median(&took), f64::from(PUTS) - took.len() as f64))
}
