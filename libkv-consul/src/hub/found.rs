use std::sync::Arc;

use crate::mailbox::Change;

/// What is different in an answer.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// How many changes anybody who listens takes at once. There is no use in keeping more.
    pub(super) most: usize,
    pub(super) gone: Vec<Arc<Change>>,
    pub(super) puts: Vec<Arc<Change>>,
    /// The index of each name that is new or changed.
    pub(super) states: Vec<(String, u64)>,
}

impl Found {
    pub(super) fn gone(&mut self, names: impl Iterator<Item = String>, index: u64) {
        self.gone.extend(names.map(|name| Arc::new(Change { name, entry: None, index })));
    }
}
