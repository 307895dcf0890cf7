use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Containers and networks with this label are removed at the end of the run that it names.
pub(super) const LABEL: &str = "libkv-test-run";

/// Waits for the end of its input, and removes what has the label then. A container whose making
/// was under way may appear a little later, so that it looks until there was nothing twice.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
nothing=0
while [ "$nothing" -lt 2 ]; do
    containers=$(docker ps --all --quiet --filter "label=$1") || exit 1
    if [ -n "$containers" ]; then docker rm --force --volumes $containers; nothing=0
    else nothing=$((nothing + 1)); sleep 1; fi
done
networks=$(docker network ls --quiet --filter "label=$1")
[ -z "$networks" ] || docker network rm $networks
"#;

/// A process that outlives this one, however this one ends, and then removes its containers.
#[derive(Debug)]
pub(super) struct Reaper {
    run: String,
    /// The end of this process closes its input, whatever ends this process.
    _process: Child,
}

impl Reaper {
    pub(super) fn start() -> Self {
        let run = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        let mut reaper = Command::new("sh");
        reaper.args(["-c", SCRIPT, "libkv-reaper", &format!("{LABEL}={run}")]);
        // In a group of its own, an interrupt at the terminal does not reach it.
        reaper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { run, _process: reaper.spawn().expect("sh starts") }
    }

    /// The name of this run, which everything is labelled with.
    pub(super) fn run(&self) -> &str {
        &self.run
    }
}
