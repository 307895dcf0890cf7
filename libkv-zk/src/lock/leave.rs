//! Giving a lock back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libkv_core::{Backoff, Consistency, Error, Result, SessionState};
use tokio::time::sleep;
use zookeeper_client as zk;

use super::call_for;
use super::change::{leaving, taking};
use super::names::is_mark_name;
use super::spot::{Place, Spot, check_time};
use crate::error::{Call, Failure, ZK};
use crate::link::{Conn, state};
use crate::plan::Op;

const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often parents are pruned in vain, where others use them, before they are left.
const PRUNINGS: usize = 4;

impl Spot {
    /// Puts the value of a lock that is held, or removes what another holder has left; false where
    /// the own node is gone.
    pub(super) async fn settle(
        &self,
        place: &Place,
        names: &[String],
        value: Option<&Bytes>,
        call: &Call,
    ) -> Result<bool> {
        let marked = names.iter().any(|name| is_mark_name(name));
        if !marked && value.is_none() {
            return Ok(true);
        }
        let mut ops = match marked {
            true => Vec::new(),
            false => taking(&self.site, place, None, &[], value),
        };
        let mut consistency = Consistency::Local;
        loop {
            if ops.is_empty() {
                let scene = self.look(consistency, call).await?;
                let node = scene.node.as_ref().map(|(stat, _)| stat);
                ops = taking(&self.site, place, node, &scene.marks, value);
            }
            if ops.is_empty() {
                return Ok(true);
            }
            match self.commit(&ops, call).await {
                Ok(Ok(())) => return Ok(true),
                Ok(Err((0, zk::Error::NoNode))) => return Ok(false),
                Ok(Err((_, error))) if is_stale(&error) => {}
                // The mark tells whether it was done.
                Err(Failure::Lost(_)) => {}
                Ok(Err((_, error))) => return Err(Failure::of(error).into_error(call, true)),
                Err(failure) => return Err(failure.into_error(call, true)),
            }
            (ops, consistency) = (Vec::new(), Consistency::Linearizable);
            check_time(call)?;
        }
    }

    /// Removes the nodes that this attempt made, and what was made for them; false where there were
    /// none.
    pub(super) async fn leave(&self, held: bool, call: &Call) -> Result<bool> {
        let mut consistency = match held {
            true => Consistency::Local,
            false => Consistency::Linearizable,
        };
        let (mut unanswered, mut tries) = (None::<Error>, 0);
        loop {
            let scene = self.look(consistency, call).await;
            let scene = scene.map_err(|error| unanswered.clone().unwrap_or(error))?;
            let names = scene.node.iter().flat_map(|(_, names)| names);
            let there = names.into_iter().any(|name| self.site.is_own(name));
            if let (false, true, Some(error)) = (there, held, &unanswered) {
                return Err(error.clone());
            }
            let ops = leaving(&self.site, &scene, held, tries < PRUNINGS);
            if ops.is_empty() {
                return Ok(there);
            }
            match self.commit(&ops, call).await {
                Ok(Ok(())) => return Ok(there),
                Ok(Err((_, error))) if is_stale(&error) => {}
                Ok(Err((at, zk::Error::NoAuth))) if !is_own_node(self, ops.get(at)) => {
                    tries = PRUNINGS;
                }
                Err(Failure::Lost(error)) => {
                    unanswered = Some(Failure::Lost(error).into_error(call, true));
                }
                Ok(Err((_, error))) => return Err(Failure::of(error).into_error(call, true)),
                Err(failure) => {
                    return Err(unanswered.unwrap_or_else(|| failure.into_error(call, true)));
                }
            }
            tries += 1;
            consistency = Consistency::Linearizable;
            check_time(call).map_err(|error| unanswered.clone().unwrap_or(error))?;
        }
    }

    /// Goes on with leaving in the background, as long as the session lives: its nodes live as
    /// long.
    pub(super) fn leave_later(&self, conn: Arc<Conn>) {
        let site = self.site.clone();
        let handle = Arc::downgrade(&self.handle);
        tokio::spawn(async move {
            let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
            let mut life = conn.life();
            loop {
                sleep(backoff.next_jittered()).await;
                let known = life.wait_for(|life| state(life) != SessionState::Suspended).await;
                if known.map_or(true, |life| state(&life) == SessionState::Lost) {
                    return;
                }
                let Some(handle) = handle.upgrade() else { return };
                let spot = Self { handle, site: site.clone() };
                match spot.leave(false, &call_for(&spot.handle)).await {
                    Ok(_) => return,
                    Err(error) => {
                        tracing::warn!(backend = %ZK, key = site.path, %error, "lock not given back yet");
                    }
                }
            }
        });
    }
}

/// Whether something is not as it was read.
fn is_stale(error: &zk::Error) -> bool {
    use zk::Error as E;
    matches!(error, E::NoNode | E::NodeExists | E::BadVersion | E::NotEmpty)
}

fn is_own_node(spot: &Spot, op: Option<&Op>) -> bool {
    matches!(op, Some(Op::Delete { path, .. }) if spot.site.is_own(crate::paths::name(path)))
}
