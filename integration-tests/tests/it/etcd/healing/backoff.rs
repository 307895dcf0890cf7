//! Who lost a server does not storm it, nor come back in the same moment as everybody else.

use crate::faults::healing;
use crate::harness::etcd::Etcd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_come_back_with_pauses_that_differ() {
    healing::pauses_differ::<Etcd>().await;
}
