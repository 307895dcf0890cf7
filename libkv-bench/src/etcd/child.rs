//! What has a process of its own for each figure: memory, and thousands of watches.

use std::process::Command;
use std::time::Instant;

use super::keys::{LISTED_KEYS, LISTED_ROOT, filled};
use super::server::Server;
use super::sides::{Bare, ours};
use super::watches::Watched;
use crate::lab::{Done, Lab, Sample, runtime};
use crate::sides::Name;
use crate::table::{Aim, Unit};
use crate::{load, place};

/// What this program is called with as a child: the side, the work, and the server's address.
pub(crate) const COMMAND: &str = "etcd-child";

const WATCHES: usize = 2_000;
const KEYS: usize = 2_000;
const OPS: usize = 64 * 160;

pub(crate) fn measure(lab: &mut Lab, server: &Server) -> Done {
    let run = |side: &'static str, work: &'static str| move |_: &Lab| Found::of(server, side, work);
    let memory = |side, work| move |lab: &Lab| Ok(run(side, work)(lab)?.bytes);
    if lab.wants_some_of("open 2,000 watches") {
        lab.compare(
            "open 2,000 watches (a stream each)",
            Unit::Seconds,
            Aim::Nothing,
            |lab| run("ours", "watches")(lab).map(Found::time),
            |lab| run("bare", "watches")(lab).map(Found::time),
        )?;
        lab.compare(
            "open 2,000 watches, growth of memory",
            Unit::Bytes,
            Aim::Ours(10_485_760.0),
            memory("ours", "watches"),
            memory("bare", "watches"),
        )?;
        lab.compare(
            "open 2,000 watches, streams",
            Unit::Count,
            Aim::Nothing,
            |_| streams(server, "ours"),
            |_| streams(server, "bare"),
        )?;
    }
    if !lab.wants_some_of("memory") {
        return Ok(());
    }
    filled(lab, server, LISTED_ROOT, LISTED_KEYS)?;
    filled(lab, server, "", KEYS)?;
    for (name, aim, work) in [
        ("memory growth, 100,000 keys as a stream", Aim::Ours(26_214_400.0), "walk"),
        ("memory growth, list of 100,000 keys", Aim::Nothing, "list"),
        ("memory growth, get and put of 64 tasks", Aim::Nothing, "single"),
    ] {
        lab.compare(name, Unit::Bytes, aim, memory("ours", work), memory("bare", work))?;
    }
    for (name, work) in [
        ("memory at most, 100,000 keys as a stream", "walk"),
        ("memory at most, get and put of 64 tasks", "single"),
    ] {
        let peak = |side| move |lab: &Lab| Ok(run(side, work)(lab)?.peak);
        lab.compare(name, Unit::Bytes, Aim::Nothing, peak("ours"), peak("bare"))?;
    }
    Ok(())
}

fn streams(server: &Server, side: &str) -> Done<f64> {
    let before = server.calls()?.watch_streams;
    Found::of(server, side, "watches")?;
    Ok(server.calls()?.watch_streams - before)
}

/// What a process found.
#[derive(Debug, Clone, Copy)]
struct Found {
    seconds: f64,
    cpu: f64,
    /// By how much the most memory grew over what an open client has.
    bytes: f64,
    peak: f64,
}

impl Found {
    fn of(server: &Server, side: &str, work: &str) -> Done<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.args([COMMAND, side, work, &server.address]).output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the process for {side} failed: {words}").into());
        }
        let text = String::from_utf8(output.stdout)?;
        let figures = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let [seconds, cpu, bytes, peak] = figures[..] else {
            return Err(format!("the process for {side} said {text:?}").into());
        };
        Ok(Self { seconds, cpu, bytes, peak })
    }

    fn time(self) -> Sample {
        Sample { figure: self.seconds, cpu: Some(self.cpu) }
    }
}

/// Does the work of such a process.
pub(crate) fn child(side: &str, work: &str, address: &str) -> Done {
    let runtime = runtime()?;
    let (work, address) = (work.to_owned(), address.to_owned());
    let root = if matches!(&*work, "walk" | "list") { LISTED_ROOT } else { "" };
    // On the runtime's own threads, as a program's tasks are.
    let running = match side {
        "ours" => runtime.spawn(async move { run(ours(&address, root).await?, &work).await }),
        "bare" => {
            runtime.spawn(async move { run(Bare::connect(&address, root).await?, &work).await })
        }
        _ => return Err(format!("what is the side {side:?}?").into()),
    };
    let Found { seconds, cpu, bytes, peak } = runtime.block_on(running)??;
    println!("{seconds} {cpu} {bytes} {peak}");
    Ok(())
}

async fn run<S: Watched>(side: S, work: &str) -> Done<Found> {
    let names = load::names(KEYS)?;
    // A program that has begun its work is connected.
    side.get(&names[0]).await?;
    let (memory, cpu, begun) = (place::peak_memory()?, place::cpu_time(), Instant::now());
    match work {
        "watches" => watch_all(&side).await?,
        "walk" => drop(load::walk(side, LISTED_KEYS).await?),
        "list" => drop(load::list(side, LISTED_KEYS).await?),
        "single" => {
            load::gets(side.clone(), names.clone(), 64, OPS).await?;
            load::puts(side, names, 64, OPS).await?;
        }
        _ => return Err(format!("what is the work {work:?}?").into()),
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), place::cpu_time() - cpu);
    let peak = place::peak_memory()?;
    Ok(Found { seconds, cpu, bytes: (peak - memory) as f64, peak: peak as f64 })
}

/// Opens watches, all at once, and has each ready.
async fn watch_all<S: Watched>(side: &S) -> Done {
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..WATCHES {
        let (side, name) = (side.clone(), Name::new(number)?);
        opening.spawn(async move { side.watch(&name).await });
    }
    let mut watches = Vec::with_capacity(WATCHES);
    while let Some(opened) = opening.join_next().await {
        watches.push(opened??);
    }
    drop(std::hint::black_box(watches));
    Ok(())
}
