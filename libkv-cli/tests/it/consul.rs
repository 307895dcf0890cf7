//! What the program does on Consul only, beside `consul`.

mod codes;
mod forms;
mod limits;
mod variables;

use crate::harness::consul;
use crate::served::{Place, Server};

async fn place() -> Place {
    Place::on(Server::Consul(consul::shared().await))
}
