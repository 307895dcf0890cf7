use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::{Done, on_path, read, root, run, work_dir};
use crate::{apt, engine};

const BASE: &str = "libkv-test-base:trixie";
const SERVERS: &str = "libkv-test-servers";
const SUITE: &str = "trixie";
const OTHERWISE: &str = "or name other images in LIBKV_TEST_IMAGE_ETCD and LIBKV_TEST_IMAGE_CONSUL";
/// What names the image of a server to the tests. Any image will do whose program has that name.
const NAMES: &[&str] = &["LIBKV_TEST_IMAGE_ETCD", "LIBKV_TEST_IMAGE_CONSUL"];

/// Makes sure that the tests can start their servers, and gives the variables that say from what.
/// An image that the environment names is taken; Docker fetches it where it is not there.
pub(crate) fn prepare() -> Done<Vec<(&'static str, String)>> {
    engine::prepare()?;
    let unnamed: Vec<_> = NAMES.iter().filter(|name| std::env::var_os(name).is_none()).collect();
    if unnamed.is_empty() {
        return Ok(Vec::new());
    }
    let image = made()?;
    Ok(unnamed.into_iter().map(|name| (*name, image.clone())).collect())
}

/// Makes the images, for whoever runs the tests without this program.
pub(crate) fn run_all() -> Done {
    engine::prepare()?;
    let image = made()?;
    println!("xtask: the servers are in {image}");
    Ok(())
}

/// Makes the image with the servers where it is not there, and says its name.
fn made() -> Done<String> {
    let folder = root().join("xtask/images");
    let recipe = std::fs::read(folder.join("Dockerfile"))
        .map_err(|error| format!("the recipe of the images cannot be read: {error}"))?;
    let image = format!("{SERVERS}:{SUITE}-{:016x}", hash(&recipe));
    if !is_there(&image) {
        if !is_there(BASE) {
            make_base()?;
        }
        let mut build = docker(&["build", "--tag", &image, "--build-arg", &format!("BASE={BASE}")]);
        // The machine reaches its mirror, also one on itself. A network of containers may not.
        build.args(["--network", "host"]);
        for (variable, proxy) in apt::proxies() {
            build.env(variable, proxy).args(["--build-arg", variable]);
        }
        build.arg(&folder);
        run(build)?;
    }
    // What tests look for that are run without this program.
    run(docker(&["tag", &image, &format!("{SERVERS}:latest")]))?;
    Ok(image)
}

/// Makes an image of a small Debian, from the mirror that this machine has its packages from.
fn make_base() -> Done {
    if !apt::is_root() {
        return Err(format!(
            "making the image of the test servers needs root, once: run `cargo xtask images` as \
             root, {OTHERWISE}"
        ));
    }
    if on_path("debootstrap").is_none() {
        if !apt::may_install() {
            return Err(format!("debootstrap is not here; install it, {OTHERWISE}"));
        }
        apt::install(&["debootstrap"])?;
    }
    let folder = work_dir()?.join(format!("debootstrap-{}", std::process::id()));
    let made = bootstrap(&folder).and_then(|()| import(&folder));
    // What is left over is of no use, and where it stays, it is below the folder of what is built.
    let _ = std::fs::remove_dir_all(&folder);
    made
}

fn bootstrap(folder: &Path) -> Done {
    let mut failed =
        format!("this machine's apt configuration names no mirror of Debian; add one, {OTHERWISE}");
    for mirror in apt::mirrors() {
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", SUITE]).arg(folder).arg(&mirror);
        debootstrap.envs(apt::proxies()).stdout(Stdio::null());
        match run(debootstrap) {
            Ok(()) => return Ok(()),
            Err(error) => failed = error,
        }
        let _ = std::fs::remove_dir_all(folder);
    }
    Err(failed)
}

fn import(folder: &Path) -> Done {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder).args(["-c", "."]).stdout(Stdio::piped());
    let mut tar = tar.spawn().map_err(|error| format!("tar cannot be run: {error}"))?;
    let mut import = docker(&["import", "-", BASE]);
    import.stdin(tar.stdout.take().map_or_else(Stdio::null, Stdio::from));
    let imported = run(import);
    let packed = tar.wait().map_err(|error| format!("tar cannot be run: {error}"))?;
    imported?;
    if packed.success() { Ok(()) } else { Err(format!("tar failed in {}", folder.display())) }
}

fn is_there(image: &str) -> bool {
    read(docker(&["image", "inspect", image])).is_ok()
}

fn docker(args: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(args);
    command
}

/// Another recipe has another name. This is the hash of Fowler, Noll and Vo.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
