use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::protoc;

/// What a chore ends in; the text says what to do.
pub(crate) type Done<T = ()> = Result<T, String>;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where chores keep what they make.
pub(crate) fn work_dir() -> Done<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    let dir = target.join("xtask");
    std::fs::create_dir_all(&dir)
        .map_err(|error| format!("the folder {} cannot be made: {error}", dir.display()))?;
    Ok(dir)
}

/// The cargo that runs this, told of the protoc that was prepared.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    if let Some(protoc) = protoc::ours() {
        command.env("PROTOC", protoc);
    }
    command
}

/// Where a program is, if it is where programs are looked for.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|path| path.is_file())
}

/// Runs a command and shows what it prints.
pub(crate) fn run(mut command: Command) -> Done {
    let shown = show(&command);
    eprintln!("xtask: {shown}");
    let status = command.status().map_err(|error| format!("{shown} cannot be run: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown} failed")) }
}

/// Runs a command, shows what it prints, and hands each line of its standard output to `line`.
pub(crate) fn run_reading(mut command: Command, mut line: impl FnMut(&str)) -> Done {
    let shown = show(&command);
    eprintln!("xtask: {shown}");
    let failed = |error: std::io::Error| format!("{shown} cannot be run: {error}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output).lines() {
            let text = text.map_err(failed)?;
            println!("{text}");
            line(&text);
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("{shown} failed")) }
}

/// What a command prints, where it is not to be shown.
pub(crate) fn read(mut command: Command) -> Done<String> {
    let shown = show(&command);
    let output = command.output().map_err(|error| format!("{shown} cannot be run: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{shown} failed:\n{words}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn show(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let name = name.to_string_lossy();
        // The address of a proxy may have a password in it.
        let value = if name.ends_with("_proxy") { "***".into() } else { value?.to_string_lossy() };
        Some(format!("{name}={value:?} "))
    });
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let environment: String = environment.collect();
    let args: Vec<_> = args.collect();
    format!("{environment}{} {}", program.to_string_lossy(), args.join(" "))
}
