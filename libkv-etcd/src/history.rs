use etcd_client::proto::PbKeyValue;
use etcd_client::{GetOptions, GetResponse};
use libkv_core::Result;
use tokio::time::Instant;

use crate::cluster::{Call, Failure, Way};
use crate::endpoint::{Connection, Lane};
use crate::handle::Handle;
use crate::names::{Span, is_lock_node};

/// The cluster's present revision, as its quorum knows it.
pub(crate) async fn current_revision(handle: &Handle, span: &Span) -> Result<i64> {
    let call = call(handle);
    let answer = look(handle, &call, &span.from, 0).await;
    let answer = answer.map_err(|failure| failure.into_error(&call))?;
    Ok(answer.header().map_or(0, |header| header.revision()))
}

/// What a deleted key was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    Data,
    Node,
    /// The server does not know any more.
    Forgotten,
}

/// Looks what a deleted key was right before.
pub(crate) async fn look_back(handle: &Handle, deleted: &PbKeyValue) -> Result<Past> {
    let call = call(handle);
    let before = deleted.mod_revision - 1;
    match look(handle, &call, &deleted.key, before).await {
        Ok(answer) => match answer.0.kvs.first() {
            Some(kv) if !is_lock_node(&kv.key, kv.lease) => Ok(Past::Data),
            _ => Ok(Past::Node),
        },
        Err(failure) if failure.fault.is_compacted() => Ok(Past::Forgotten),
        Err(failure) => Err(failure.into_error(&call)),
    }
}

fn call(handle: &Handle) -> Call {
    let deadline = Instant::now() + handle.cluster.operation_timeout;
    Call { operation: "watch", lane: Lane::Calls, way: Way::Read, deadline }
}

/// Reads a key without its value; at the present revision for 0.
async fn look(
    handle: &Handle,
    call: &Call,
    name: &[u8],
    revision: i64,
) -> Result<GetResponse, Failure> {
    let options = GetOptions::new().with_keys_only().with_revision(revision);
    let looking = handle.cluster.call(call, |at: Connection| {
        let (name, options) = (name.to_vec(), options.clone());
        async move { at.kv().get(name, Some(options)).await }
    });
    looking.await
}
