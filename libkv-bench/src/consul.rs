//! The store in Consul beside bare HTTP calls.

mod bare;
mod lock;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use libkv_consul::{ConsulConfig, ConsulStore};
use libkv_core::{Key, Store, StoreUrl, Txn, WatchTarget};

use self::bare::Bare;
use crate::lab::{Done, Lab};
use crate::load;
use crate::memory::counted;
use crate::remote::{
    CROWD, Calls, DATA, Found, KEYS, Kind, OPS_OF_CROWD, OPS_OF_ONE, Server, Singles, Subject,
    WATCHES, Watches, filled, free_addresses,
};
use crate::sides::Ours;
use crate::table::{Aim, Unit};

/// The trees that the many watches are spread over, and how many keys each has.
const TREES: usize = 50;
const KEYS_OF_A_TREE: usize = 20;
/// The most connections that these watches are to have.
const MOST_CONNECTIONS: f64 = 60.0;
/// How many programs are run in a turn.
const PROGRAMS: usize = 10;

pub(crate) enum Consul {}

impl Subject for Consul {
    type Bare = Bare;

    const NAME: &'static str = "consul";
    const SERVER: Kind = Kind {
        image: "LIBKV_TEST_IMAGE_CONSUL",
        running: "LIBKV_TEST_CONSUL",
        start,
        ready: ("/v1/catalog/nodes", "\"Node\""),
        version: ("/v1/agent/self", "\"Version\":\""),
        calls: ("/v1/agent/metrics?format=prometheus", calls),
    };
    const CLIENT: &'static str = "reqwest";
    const LISTING: &'static str = "one answer";
    const LOCKING: &'static str = "own loop";
    const FAIRNESS: &'static str = "\
Both sides have one runtime and the same keys on one server, and keep connections alive without
delay. Beside is reqwest, with a connection for each call that is under way; ours has at most 32 for
calls and 64 for watches. Beside, reads are ?consistent as ours are, a put is a transaction of one
set, whose answer tells the index, and a lock is one loop: a transaction that locks, and a blocking
query where that is refused. The cpu columns are the processor's time of this process for one
operation.";
    /// The transaction that takes the lock, the query that tells when it is lost, and the
    /// transaction that gives it back.
    const LOCK_CALLS: (f64, Option<f64>) = (3.0, None);
    const WATCHES: Watches = Watches {
        number: 10_000,
        written: "10,000",
        beside: "a query for each of 50 trees",
        aim: Aim::Nothing,
    };

    fn target(number: usize) -> Done<WatchTarget> {
        Ok(WatchTarget::Tree(Key::new(&tree(number % TREES))?))
    }

    async fn ours(address: &str, root: &str) -> Done<Ours> {
        open(format!("consul://{address}/{root}")).await
    }

    async fn disturb(address: &str) -> Done {
        let Ours(store) = Self::ours(address, "").await?;
        for tree in 0..TREES {
            let mut puts = Txn::new();
            for number in 0..KEYS_OF_A_TREE {
                let key = format!("{}/{number}", self::tree(tree));
                puts = puts.put(&Key::new(&key)?, load::value(number))?;
            }
            store.txn(puts).await?;
        }
        Ok(())
    }

    fn besides(lab: &mut Lab, server: &Server) -> Done {
        singles(lab, server)?;
        crowds(lab, server)?;
        programs(lab, server)
    }
}

async fn open(url: String) -> Done<Ours> {
    let url: StoreUrl = url.parse()?;
    Ok(Ours(Arc::new(ConsulStore::open(ConsulConfig::try_from(url)?).await?)))
}

fn tree(number: usize) -> String {
    format!("trees/{number:02}")
}

/// Puts beside the call that most programs use, whose answer has no index, and as many connections as
/// there are tasks, to show what fewer cost.
fn singles(lab: &mut Lab, server: &Server) -> Done {
    if ["get", "put"].iter().all(|section| !lab.wants_some_of(section)) {
        return Ok(());
    }
    let (ours, bare) = filled::<Consul>(lab, server, "", KEYS)?;
    let names = load::names(KEYS)?;
    let plain = Singles { ours, bare: bare.with_plain_puts(), names: names.clone() };
    for tasks in [1, 64] {
        let name = format!("put, {} (PUT /v1/kv, no index)", counted(tasks));
        plain.puts(lab, &name, Aim::Nothing, tasks)?;
    }
    let url = format!("consul://{}?max_connections=64", server.address);
    let wide = Singles { ours: lab.run(open(url))?, bare, names };
    let rest = "64 tasks, max_connections=64 (reqwest)";
    wide.gets(lab, &format!("get, {rest}"), Aim::Nothing, 64)?;
    wide.puts(lab, &format!("put, {rest}"), Aim::Nothing, 64)
}

/// The connections of many watches, and more callers than the server takes connections.
fn crowds(lab: &mut Lab, server: &Server) -> Done {
    let run = |side, work| move |lab: &Lab| Found::of::<Consul>(lab, server, side, work);
    if ["open", "lost"].iter().any(|section| lab.wants_some_of(section)) {
        filled::<Consul>(lab, server, "", KEYS)?;
    }
    lab.compare(
        "open 10,000 watches of 50 trees, connections",
        Unit::Count,
        Aim::Ours(MOST_CONNECTIONS),
        |lab| Ok(run("ours", WATCHES)(lab)?.connections),
        |lab| Ok(run("bare", WATCHES)(lab)?.connections),
    )?;
    lab.compare(
        &format!("lost of {OPS_OF_CROWD} calls of 256 callers (reqwest)"),
        Unit::Count,
        Aim::Ours(0.0),
        |lab| Ok(run("ours", CROWD)(lab)?.lost),
        |lab| Ok(run("bare", CROWD)(lab)?.lost),
    )
}

/// Single calls beside Consul's own program, which is started for each.
fn programs(lab: &mut Lab, server: &Server) -> Done {
    if !lab.wants_some_of("program") || server.shell("true")?.is_none() {
        return Ok(());
    }
    let (ours, _) = filled::<Consul>(lab, server, "", KEYS)?;
    let names = load::names(1)?;
    let run = |arguments: &str| {
        let program = format!("consul kv {arguments} >/dev/null");
        let address = &server.address;
        let begun = Instant::now();
        server.shell(&format!(
            "export CONSUL_HTTP_ADDR={address}; value=$(printf %0256d 7); \
             for _ in $(seq {PROGRAMS}); do {program}; done"
        ))?;
        Ok(begun.elapsed().as_secs_f64() / PROGRAMS as f64)
    };
    let key = names[0].text();
    lab.compare(
        "program: get beside `consul kv get`, a process",
        Unit::Seconds,
        Aim::Nothing,
        |lab| lab.run(load::gets(ours.clone(), names.clone(), 1, OPS_OF_ONE)),
        |_| run(&format!("get {key}")),
    )?;
    lab.compare(
        "program: put beside `consul kv put`, a process",
        Unit::Seconds,
        Aim::Nothing,
        |lab| lab.run(load::puts(ours.clone(), names.clone(), 1, OPS_OF_ONE)),
        |_| run(&format!("put {key} $value")),
    )
}

fn start() -> Done<(String, Vec<String>)> {
    let [clients, servers, members] = free_addresses()?;
    let config = format!(
        "disable_update_check = true\n\
         performance {{ raft_multiplier = 1 }}\n\
         telemetry {{ prometheus_retention_time = \"24h\" }}\n\
         ports {{ http = {} server = {} serf_lan = {} serf_wan = -1 dns = -1 grpc = -1 }}",
        clients.port(),
        servers.port(),
        members.port(),
    );
    let args = ["agent", "-server", "-bootstrap-expect=1", "-node=bench", "-log-level=warn"];
    let mut args: Vec<_> = args.map(str::to_owned).into();
    args.extend(["-bind", "-client"].map(|name| format!("{name}={}", clients.ip())));
    args.extend([format!("-data-dir={DATA}"), "-hcl".to_owned(), config]);
    Ok((clients.to_string(), args))
}

/// Counts what it says of each path.
fn calls(metrics: &str) -> Calls {
    let counts = metrics.lines().filter_map(|line| {
        let (name, count) = line.strip_prefix("consul_http_")?.split_once("_count ")?;
        (!name.contains("_agent_")).then_some(count.parse::<f64>().ok()?)
    });
    Calls { answered: counts.sum(), ..Calls::default() }
}
