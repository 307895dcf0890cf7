//! What the program does on etcd only, beside `etcdctl`.

mod codes;
mod interop;
mod locks;
mod variables;

use crate::harness::etcd;
use crate::served::{Place, Server};

async fn place() -> Place {
    Place::on(Server::Etcd(etcd::shared().await))
}
