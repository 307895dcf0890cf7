use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// Everything that was logged in this process: cases run side by side, so each looks for its keys.
static LINES: Mutex<String> = Mutex::new(String::new());
static INSTALLED: Once = Once::new();

/// Collects all `tracing` events of libkv in this process from now on. Cases do so by themselves.
pub fn collect_lines() {
    INSTALLED.call_once(|| {
        // What clients log of every frame is theirs, and there is much of it.
        let ours = filter_fn(|event| event.target().starts_with("libkv"));
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Collector);
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(ours));
        // Somebody else's subscriber would take the lines away, and the cases about them fail.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
}

/// The lines logged so far that contain `text`.
pub fn lines_about(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

struct Collector;

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
