//! What has a process of its own for each figure: memory, and thousands of watches.

use std::process::Command;
use std::time::Instant;

use super::keys::{KEYS, LISTED_KEYS, LISTED_ROOT, filled};
use super::server::Server;
use super::{Bare, Subject};
use crate::lab::{Done, Lab, Sample, runtime};
use crate::table::{Aim, Unit};
use crate::watched::Watched;
use crate::{load, place};

/// What this program is called with as a child: the server, the side, the work, and the address.
pub(crate) const COMMAND: &str = "child";

pub(crate) const WATCHES: &str = "watches";
pub(crate) const CROWD: &str = "crowd";

const OPS: usize = 64 * 160;
/// So many call at once that each of them on a connection of its own is more than servers take.
const CALLERS: usize = 256;
pub(crate) const OPS_OF_CROWD: usize = CALLERS * 40;

pub(super) fn measure<S: Subject>(lab: &mut Lab, server: &Server) -> Done {
    if ["open", "memory"].iter().any(|section| lab.wants_some_of(section)) {
        filled::<S>(lab, server, "", KEYS)?;
    }
    let run = |side: &'static str, work: &'static str| {
        move |lab: &Lab| Found::of::<S>(lab, server, side, work)
    };
    let memory = |side, work| move |lab: &Lab| Ok(run(side, work)(lab)?.bytes);
    let open = format!("open {} watches", S::WATCHES.written);
    if lab.wants_some_of(&open) {
        lab.compare(
            &format!("{open} ({})", S::WATCHES.beside),
            Unit::Seconds,
            Aim::Nothing,
            |lab| run("ours", WATCHES)(lab).map(Found::time),
            |lab| run("bare", WATCHES)(lab).map(Found::time),
        )?;
        lab.compare(
            &format!("{open}, growth of memory"),
            Unit::Bytes,
            S::WATCHES.aim,
            memory("ours", WATCHES),
            memory("bare", WATCHES),
        )?;
    }
    if !lab.wants_some_of("memory") {
        return Ok(());
    }
    filled::<S>(lab, server, LISTED_ROOT, LISTED_KEYS)?;
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

/// What a process found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    seconds: f64,
    cpu: f64,
    /// By how much the most memory grew over what an open client has.
    bytes: f64,
    peak: f64,
    /// The connections that are open at the end of the work.
    pub(crate) connections: f64,
    /// How many calls failed, where that is what is looked for.
    pub(crate) lost: f64,
}

impl Found {
    pub(crate) fn of<S: Subject>(lab: &Lab, server: &Server, side: &str, work: &str) -> Done<Self> {
        let disturb = || {
            let address = server.address.clone();
            lab.run(async move { S::disturb(&address).await })
        };
        if work == WATCHES {
            disturb()?;
        }
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.args([COMMAND, S::NAME, side, work, &server.address]).output()?;
        if work == WATCHES {
            disturb()?;
        }
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the process for {side} failed: {words}").into());
        }
        let text = String::from_utf8(output.stdout)?;
        let figures = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let [seconds, cpu, bytes, peak, connections, lost] = figures[..] else {
            return Err(format!("the process for {side} said {text:?}").into());
        };
        Ok(Self { seconds, cpu, bytes, peak, connections, lost })
    }

    fn time(self) -> Sample {
        Sample { figure: self.seconds, cpu: Some(self.cpu) }
    }
}

/// Does the work of such a process.
pub(crate) fn child<S: Subject>(side: &str, work: &str, address: &str) -> Done {
    let runtime = runtime()?;
    let (work, address) = (work.to_owned(), address.to_owned());
    let root = if matches!(&*work, "walk" | "list") { LISTED_ROOT } else { "" };
    // On the runtime's own threads, as a program's tasks are.
    let running = match side {
        "ours" => {
            runtime.spawn(async move { run::<S, _>(S::ours(&address, root).await?, &work).await })
        }
        "bare" => runtime.spawn(async move {
            run::<S, _>(S::Bare::connect(&address, root).await?, &work).await
        }),
        _ => return Err(format!("what is the side {side:?}?").into()),
    };
    let Found { seconds, cpu, bytes, peak, connections, lost } = runtime.block_on(running)??;
    println!("{seconds} {cpu} {bytes} {peak} {connections} {lost}");
    Ok(())
}

async fn run<S: Subject, W: Watched>(side: W, work: &str) -> Done<Found> {
    let names = load::names(KEYS)?;
    // A program that has begun its work is connected.
    side.get(&names[0]).await?;
    let (memory, cpu, begun) = (place::peak_memory()?, place::cpu_time(), Instant::now());
    let (mut watches, mut lost) = (Vec::new(), 0);
    match work {
        WATCHES => watches = watch_all::<S, W>(&side).await?,
        "walk" => drop(load::walk(side, LISTED_KEYS).await?),
        "list" => drop(load::list(side, LISTED_KEYS).await?),
        CROWD => lost = load::lost(side, names, CALLERS, OPS_OF_CROWD).await?,
        "single" => {
            load::gets(side.clone(), names.clone(), 64, OPS).await?;
            load::puts(side, names, 64, OPS).await?;
        }
        _ => return Err(format!("what is the work {work:?}?").into()),
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), place::cpu_time() - cpu);
    let (peak, connections) = (place::peak_memory()?, place::connections()? as f64);
    drop(std::hint::black_box(watches));
    let bytes = (peak - memory) as f64;
    Ok(Found { seconds, cpu, bytes, peak: peak as f64, connections, lost: lost as f64 })
}

/// Opens watches, all at once, and has each ready.
async fn watch_all<S: Subject, W: Watched>(side: &W) -> Done<Vec<W::Watch>> {
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..S::WATCHES.number {
        let (side, target) = (side.clone(), S::target(number)?);
        opening.spawn(async move { side.watch(&target).await });
    }
    let mut watches = Vec::with_capacity(S::WATCHES.number);
    while let Some(opened) = opening.join_next().await {
        watches.push(opened??);
    }
    Ok(watches)
}
