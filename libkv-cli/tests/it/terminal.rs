use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, open};

use crate::home::{Home, LIBKV, PATIENCE};

/// The program under a terminal of its own.
struct Terminal {
    child: Child,
    keys: std::fs::File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    fn start(home: &Home, args: &[&str]) -> Self {
        Self::start_with(home, args, &[])
    }

    fn start_with(home: &Home, args: &[&str], env: &[(&str, &str)]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, 100)).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let command = Command::new(LIBKV)
            .args(args)
            .current_dir(home.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", home.path())
            .env("TERM", "xterm")
            .env("LIBKV_STORE", "file:store.redb")
            .envs(env.iter().copied());
        let child = command.spawn(pts).unwrap();
        let pty = std::os::fd::OwnedFd::from(pty);
        let keys = std::fs::File::from(pty.try_clone().unwrap());
        let mut output = std::fs::File::from(pty);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let seen = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            // The end of the last process on it is an error on Linux.
            while let Ok(count @ 1..) = output.read(&mut part) {
                seen.lock().unwrap().extend_from_slice(&part[..count]);
            }
        });
        Self { child, keys, screen, reader }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            assert!(start.elapsed() < PATIENCE, "{text:?} never came: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code, and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let screen = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        (status.code(), screen)
    }
}

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

fn filled() -> Home {
    let home = Home::new();
    home.ok(&["put", "app/name", "demo"]);
    home.ok(&["put", "app/port", "80"]);
    assert_eq!(home.run_with(&["put", "bin"], b"\xff\x07").code, 0);
    home
}

#[test]
fn a_terminal_gets_boxes_colours_and_a_table() {
    let home = filled();
    let show = |args: &[&str], env| Terminal::start_with(&home, args, env).end().1;
    insta::assert_snapshot!(
        "terminal-tree",
        show(&["tree"], &[]).escape_debug().to_string().replace("\\r\\n", "\n")
    );
    let table = show(&["ls", "--long"], &[]);
    assert!(table.contains("VERSION  LIFETIME   SIZE  KEY"), "{table}");
    assert!(table.contains("permanent     4  \u{1b}[1mapp/name\u{1b}[0m"), "{table}");
    let events = show(&["-q", "watch", "/", "--count", "1"], &[]);
    assert!(events.contains("\u{1b}[32mput\u{1b}[0m"), "{events}");
    for env in [&[("NO_COLOR", "1")], &[("TERM", "dumb")]] {
        for args in [&["tree"][..], &["ls", "-l"], &["-q", "watch", "/", "--count", "1"]] {
            let plain = show(args, env);
            assert!(!plain.contains('\u{1b}'), "{plain:?}");
        }
    }
    // Empty is as good as not set.
    assert!(show(&["tree"], &[("NO_COLOR", "")]).contains('\u{1b}'));
    // What was asked for by name is not changed.
    assert!(!show(&["ls", "--long", "--output", "plain"], &[]).contains("VERSION"));
}

#[test]
fn text_gets_a_line_of_its_own_and_bytes_are_refused() {
    let home = filled();
    assert_eq!(Terminal::start(&home, &["get", "app/name"]).end(), (Some(0), "demo\r\n".into()));
    let (code, screen) = Terminal::start(&home, &["get", "bin"]).end();
    assert_eq!(code, Some(1));
    assert!(screen.contains("the 2 bytes of bin are not text"), "{screen}");
    assert!(screen.contains("--output raw") && !screen.contains('\u{7}'), "{screen}");
    let (code, screen) = Terminal::start(&home, &["get", "bin", "--output", "raw"]).end();
    assert_eq!(code, Some(0));
    assert!(screen.contains('\u{7}'), "{screen:?}");
    home.ok(&["put", "trick", "\u{1b}]0;title\u{7}"]);
    assert_eq!(Terminal::start(&home, &["get", "trick"]).end().0, Some(1));
}

#[test]
fn deleting_a_tree_asks() {
    let home = filled();
    for answer in ["n\n", "\n", CTRL_D] {
        let mut terminal = Terminal::start(&home, &["del", "app", "--tree"]);
        terminal.wait_for("delete 2 keys at and below app on file:store.redb? [y/N] ");
        terminal.press(answer);
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(1));
        assert!(screen.contains("libkv: nothing was deleted"), "{screen}");
    }
    assert_eq!(home.ok(&["ls", "app"]).text(), "app/name\napp/port\n");
    let mut terminal = Terminal::start(&home, &["del", "app", "--tree"]);
    terminal.wait_for("[y/N] ");
    terminal.press("y\n");
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(home.ok(&["ls"]).text(), "bin\n");
    // Told beforehand, it does not ask.
    let (code, screen) = Terminal::start(&home, &["del", "bin", "--tree", "--yes"]).end();
    assert_eq!((code, &*screen), (Some(0), ""));
}

#[test]
fn a_value_is_not_waited_for_where_somebody_may_not_know() {
    let (code, screen) = Terminal::start(&Home::new(), &["put", "a"]).end();
    assert_eq!(code, Some(2));
    assert!(screen.contains("no value is given"), "{screen}");
    // Asked for, it is read from the keys.
    let home = Home::new();
    let mut terminal = Terminal::start(&home, &["put", "a", "-"]);
    terminal.press("typed\n");
    terminal.press(CTRL_D);
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(home.ok(&["get", "a"]).text(), "typed\n");
}

#[test]
fn ctrl_c_ends_a_watch() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home, &["watch", "/"]);
    terminal.wait_for("synced");
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, Some(130));
    home.ok(&["ls", "--timeout", "2s"]);
}

#[test]
fn ctrl_c_reaches_the_command_under_a_lock_once() {
    let home = Home::new();
    let script = "trap 'echo told' INT; echo in; sleep 60; sleep 0.5; exit 9";
    let mut terminal = Terminal::start(&home, &["lock", "k", "--", "sh", "-c", script]);
    terminal.wait_for("in\r\n");
    terminal.press(CTRL_C);
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(9));
    assert_eq!(screen.matches("told").count(), 1, "{screen}");
    let mut terminal = Terminal::start(&home, &["lock", "k", "--", "sleep", "60"]);
    terminal.wait_for("until this one ends");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, Some(130));
    home.ok(&["lock", "k", "--try", "--", "true"]);
}

#[test]
fn the_command_under_a_lock_can_talk_to_the_terminal() {
    let home = Home::new();
    let script = "read word < /dev/tty; echo got $word; test -t 0";
    let mut terminal = Terminal::start(&home, &["-q", "lock", "k", "--", "sh", "-c", script]);
    terminal.press("hello\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0));
    assert!(screen.contains("got hello"), "{screen}");
}
