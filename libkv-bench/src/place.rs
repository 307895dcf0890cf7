//! Where the measurements are taken.

use std::path::Path;

use crate::lab::{Done, WORKERS};

/// The machine, for who reads the figures later.
pub(crate) fn describe() -> Done<String> {
    let cpus = std::thread::available_parallelism()?;
    let load = load();
    Ok(format!("{cpus} processors (load {load} at the start), runtime with {WORKERS} threads"))
}

/// How many threads wanted to run, as the mean of a minute.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// The kind of the file system that a folder is on, as the system tells it.
pub(crate) fn file_system(dir: &Path) -> Done<String> {
    let dir = dir.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = mounts.filter(|(place, _)| dir.starts_with(place));
    // Of several on one place, the last hides the others.
    let kind = holding.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind);
    Ok(match kind {
        Some("tmpfs" | "ramfs") => "memory, NOT A DISK: a commit costs nothing here".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "a file system that the system does not name".to_owned(),
    })
}

/// The processor's seconds that all threads of this process have had.
pub(crate) fn cpu_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that this process had.
pub(crate) fn peak_memory() -> Done<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|text| text.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.ok_or("the system does not tell the peak of memory")?.parse()?;
    Ok(kibibytes * 1024)
}

/// How many connections this process has.
pub(crate) fn connections() -> Done<usize> {
    let files = std::fs::read_dir("/proc/self/fd")?;
    // One may be closed meanwhile.
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}
