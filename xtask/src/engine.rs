use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::apt;
use crate::command::{Done, on_path, read, run, work_dir};

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
const WORDS: &str = "the tests against real servers need a Docker Engine, and none answers. Start \
    one that `docker info` reaches, or run this as root on Debian, where it is installed and \
    started by itself. What needs no server: `cargo test`";

/// Makes sure that a Docker Engine answers. Where none does, it is installed and started, if this is
/// root on Debian.
pub(crate) fn prepare() -> Done {
    if answers() {
        return Ok(());
    }
    if std::env::var_os("DOCKER_HOST").is_some() || !apt::may_install() {
        return Err(WORDS.to_owned());
    }
    if on_path("dockerd").is_none() {
        // Without iptables it cannot make a network.
        apt::install(&["docker.io", "iptables"])?;
    }
    if on_path("docker").is_none() {
        // Newer releases of Debian have the client in a package of its own.
        apt::install(&["docker-cli"])?;
    }
    if answers() {
        // Only the client was missing, or the package has started the engine.
        return Ok(());
    }
    if Path::new("/run/systemd/system").exists() {
        let mut start = Command::new("systemctl");
        start.args(["start", "docker"]);
        run(start)?;
        return wait(None);
    }
    let log = work_dir()?.join("dockerd.log");
    let file = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = file.map_err(|error| format!("{}: {error}", log.display()))?;
    let mut engine = Command::new("dockerd");
    // In a group of its own, it is not interrupted with what runs in this terminal.
    engine.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
    let mut engine = engine.spawn().map_err(|error| format!("dockerd cannot be run: {error}"))?;
    println!("xtask: dockerd runs as process {}, and writes to {}", engine.id(), log.display());
    wait(Some(&mut engine)).map_err(|error| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        format!("{error}\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"))
    })
}

fn wait(mut engine: Option<&mut Child>) -> Done {
    let start = Instant::now();
    while !answers() {
        let ended = engine.as_mut().is_some_and(|engine| !matches!(engine.try_wait(), Ok(None)));
        if ended || start.elapsed() > PATIENCE {
            return Err(WORDS.to_owned());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn answers() -> bool {
    let mut info = Command::new("docker");
    info.args(["info", "--format", "{{.ServerVersion}}"]);
    read(info).is_ok_and(|version| !version.trim().is_empty())
}
