use super::docker;

/// The image that `cargo xtask images` makes, with all servers in it.
const MADE: &str = "libkv-test-servers:latest";

/// Says which image has a server: the one that a variable names, else the made one.
pub(super) async fn named(variable: &str) -> String {
    if let Ok(named) = std::env::var(variable) {
        return named;
    }
    assert!(
        docker().await.inspect_image(MADE).await.is_ok(),
        "these tests need a server, and there is no image {MADE}. Run `cargo xtask test`, or \
         `cargo xtask images` once before `cargo test`; or name an image in {variable}"
    );
    MADE.to_owned()
}
