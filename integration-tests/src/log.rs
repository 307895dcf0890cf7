use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged in this process: cases run side by side, so each looks for its keys.
static LINES: Mutex<String> = Mutex::new(String::new());
static INSTALLED: Once = Once::new();

/// Collects all `tracing` events of the process from now on.
pub(crate) fn install() {
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(Collector)
            .finish();
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

impl MakeWriter<'_> for Collector {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
