//! The embedded store.

use std::sync::Arc;

use async_trait::async_trait;
use integration_tests::Target;
use libkv_core::{Key, Result, Store};
use libkv_embedded::EmbeddedStore;
use tokio::sync::OnceCell;

/// A store in memory; each connection is a handle of its own.
#[derive(Debug, Default)]
pub(crate) struct Memory(OnceCell<EmbeddedStore>);

#[async_trait]
impl Target for Memory {
    async fn open(&self, root: &Key) -> Result<Arc<dyn Store>> {
        let store = self.0.get_or_try_init(EmbeddedStore::memory).await?;
        Ok(Arc::new(store.new_handle_at(root.clone()).await?))
    }
}

mod memory {
    integration_tests::conformance!(tests for crate::embedded::Memory::default());
}
