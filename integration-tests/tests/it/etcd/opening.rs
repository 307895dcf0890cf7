//! Opening a store.

use super::Plain;
use crate::servers::opening;

/// On a server without users any user is welcome.
#[tokio::test]
async fn a_url_names_hosts_a_root_and_parameters() {
    opening::a_url_names_hosts_a_root_and_parameters::<Plain>("ann:any@").await;
}

#[tokio::test]
async fn opening_looks_for_a_member_within_its_time_unless_it_is_lazy() {
    opening::opening_looks_for_a_server_within_its_time_unless_it_is_lazy::<Plain>().await;
}
