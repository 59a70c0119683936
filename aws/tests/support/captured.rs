//! What the process logs. Which events are built is settled for the whole process by whoever comes first,
//! so that each test of logs is a process of its own.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Everything of this level and above from now on.
    pub(crate) fn from_now(level: LevelFilter) -> Self {
        let captured = Self::default();
        let writer = captured.clone();
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .init();
        captured
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
