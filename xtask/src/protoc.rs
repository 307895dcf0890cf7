use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::{Done, cargo, on_path, read, run, work_dir};

/// A crate that has Google's own programs in it, and a program of its own that says where.
const CRATE: &str = "protoc-bin-vendored@3.3.0";
const WHICH: &str = "protoc-bin-which";

/// The protoc that cargo is told of, where the machine has none of its own.
static OURS: OnceLock<PathBuf> = OnceLock::new();

/// The protoc that cargo is to be told of, if there is need and it is prepared.
pub(crate) fn ours() -> Option<&'static Path> {
    OURS.get().map(PathBuf::as_path)
}

/// Makes sure that cargo finds a protoc: building etcd's client calls it.
pub(crate) fn prepare() -> Done {
    if theirs().is_none() {
        let path = made()?;
        OURS.get_or_init(|| path);
    }
    Ok(())
}

/// Prints the path of a protoc, for `export PROTOC=$(cargo xtask protoc)`.
pub(crate) fn print_path() -> Done {
    prepare()?;
    let path = ours().map(PathBuf::from).or_else(theirs).unwrap_or_default();
    println!("{}", path.display());
    Ok(())
}

/// The one that the machine has.
fn theirs() -> Option<PathBuf> {
    std::env::var_os("PROTOC").map(PathBuf::from).or_else(|| on_path("protoc"))
}

/// Makes one below the folder of what cargo builds, once, without rights and without a compiler
/// for C++.
fn made() -> Done<PathBuf> {
    let home = work_dir()?.join("tools");
    let program = home.join("protoc").join("bin").join(program_name());
    if program.exists() {
        return Ok(program);
    }
    eprintln!("xtask: protoc is not here; making {}", program.display());
    let mut install = cargo(&["install", "--quiet", CRATE, "--bin", WHICH, "--root"]);
    install.arg(&home).arg("--target-dir").arg(home.join("build"));
    run(install)?;
    let found = read(Command::new(home.join("bin").join(WHICH)))?;
    let found = Path::new(found.trim()).parent().and_then(Path::parent);
    let found = found.ok_or_else(|| format!("{WHICH} did not say where protoc is"))?;
    let unfinished = home.join(format!("protoc-{}", std::process::id()));
    // It looks for the definitions that all files may use in a folder beside its own.
    let copied = ["bin", "include"]
        .iter()
        .try_for_each(|folder| copy(&found.join(folder), &unfinished.join(folder)));
    let moved = copied.and_then(|()| {
        // Another run may have been faster.
        std::fs::rename(&unfinished, home.join("protoc")).or_else(|error| {
            std::fs::remove_dir_all(&unfinished)?;
            if program.exists() { Ok(()) } else { Err(error) }
        })
    });
    moved.map_err(|error| format!("{} cannot be made: {error}", program.display()))?;
    Ok(program)
}

fn program_name() -> String {
    format!("protoc{}", std::env::consts::EXE_SUFFIX)
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if from.is_dir() {
            copy(&from, &to.join(name))?;
        } else {
            std::fs::copy(&from, to.join(name))?;
        }
    }
    Ok(())
}
