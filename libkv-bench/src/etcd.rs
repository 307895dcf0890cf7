//! The store in etcd beside etcd's client.

mod bare;

use std::sync::Arc;

use libkv_core::{StoreUrl, WatchTarget};
use libkv_etcd::{EtcdConfig, EtcdStore};

use self::bare::Bare;
use crate::lab::{Done, Lab};
use crate::remote::{Calls, DATA, Found, Kind, Server, Subject, WATCHES, Watches, free_addresses};
use crate::sides::{Name, Ours};
use crate::table::{Aim, Unit};

pub(crate) enum Etcd {}

impl Subject for Etcd {
    type Bare = Bare;

    const NAME: &'static str = "etcd";
    const SERVER: Kind = Kind {
        image: "LIBKV_TEST_IMAGE_ETCD",
        running: "LIBKV_TEST_ETCD",
        start,
        ready: ("/health", "true"),
        version: ("/version", "\"etcdserver\":\""),
        calls: ("/metrics", calls),
    };
    const CLIENT: &'static str = "etcd-client";
    const LISTING: &'static str = "one range";
    const LOCKING: &'static str = "server's lock call";
    const FAIRNESS: &'static str = "\
Both sides have one runtime and the same keys on one server. Beside is etcd-client with its defaults
and one connection, cloned for each call as its API asks of tasks that share it; ours has one
connection each for calls, leases, watches and lists. The cpu columns are the processor's time of
this process for one operation.";
    /// The transaction that takes the lock and the one that gives it back. With contenders also a
    /// look once the server watches who is in front, and one when they have gone.
    const LOCK_CALLS: (f64, Option<f64>) = (2.0, Some(4.0));
    const WATCHES: Watches = Watches {
        number: 2_000,
        written: "2,000",
        beside: "a stream each",
        aim: Aim::Ours(10_485_760.0),
    };

    fn target(number: usize) -> Done<WatchTarget> {
        Ok(WatchTarget::Key(Name::new(number)?.key().clone()))
    }

    async fn ours(address: &str, root: &str) -> Done<Ours> {
        let url: StoreUrl = format!("etcd://{address}/{root}").parse()?;
        Ok(Ours(Arc::new(EtcdStore::open(EtcdConfig::try_from(url)?).await?)))
    }

    async fn disturb(_: &str) -> Done {
        Ok(())
    }

    fn besides(lab: &mut Lab, server: &Server) -> Done {
        let streams = |lab: &Lab, side| {
            let before = server.calls()?.watch_streams;
            Found::of::<Self>(lab, server, side, WATCHES)?;
            Ok(server.calls()?.watch_streams - before)
        };
        lab.compare(
            "open 2,000 watches, streams",
            Unit::Count,
            Aim::Nothing,
            |lab| streams(lab, "ours"),
            |lab| streams(lab, "bare"),
        )
    }
}

fn start() -> Done<(String, Vec<String>)> {
    let [clients, peers] = free_addresses()?;
    let args = vec![
        format!("--data-dir={DATA}"),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls=http://{clients}"),
        format!("--advertise-client-urls=http://{clients}"),
        format!("--listen-peer-urls=http://{peers}"),
        format!("--initial-advertise-peer-urls=http://{peers}"),
        format!("--initial-cluster=default=http://{peers}"),
    ];
    Ok((clients.to_string(), args))
}

fn calls(metrics: &str) -> Calls {
    let started = metrics.lines().filter_map(|line| {
        let (labels, count) = line.strip_prefix("grpc_server_started_total{")?.rsplit_once(' ')?;
        Some((labels, count.parse::<f64>().ok()?))
    });
    let mut calls = Calls::default();
    for (labels, count) in started {
        if labels.contains("grpc_type=\"unary\"") {
            calls.answered += count;
        } else if labels.contains("grpc_method=\"Watch\"") {
            calls.watch_streams += count;
        }
    }
    calls
}
