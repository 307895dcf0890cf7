//! The ACL token, which may be in a file that changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libkv_core::{Error, ErrorKind, Result};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};

use crate::config::ConsulConfig;
use crate::error::CONSUL;

/// How long a token is used before its file is looked at again. A token that is refused is looked
/// after at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long reading the file may take.
const LOOK_FOR: Duration = Duration::from_secs(1);

/// The token that calls carry.
#[derive(Debug)]
pub(crate) struct Token {
    file: Option<PathBuf>,
    held: Mutex<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    token: Option<Carried>,
    looked: Instant,
}

/// A token and the header that carries it, which prints nothing of it.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) secret: SecretString,
    pub(crate) header: HeaderValue,
}

impl Token {
    /// Takes the token, or reads its file.
    pub(crate) async fn open(config: &ConsulConfig) -> Result<Self> {
        let (token, file) = match (&config.token, &config.token_file) {
            (Some(token), _) => (Some(carried(token.clone(), "the token")?), None),
            (None, Some(path)) => (Some(read(path).await?), Some(path.clone())),
            (None, None) => (None, None),
        };
        Ok(Self { file, held: Mutex::new(Held { token, looked: Instant::now() }) })
    }

    /// The token to use now.
    pub(crate) async fn current(&self) -> Option<Carried> {
        let due = self.held().looked.elapsed() >= LOOK_EVERY;
        if due {
            self.look().await;
        }
        self.held().token.clone()
    }

    /// Whether there is a token at all.
    pub(crate) fn is_shown(&self) -> bool {
        self.held().token.is_some()
    }

    /// Whether there is another token by now than the one that was refused.
    pub(crate) async fn has_changed(&self, refused: Option<&Carried>) -> bool {
        self.look().await;
        let header = self.held().token.as_ref().map(|token| token.header.clone());
        header.as_ref() != refused.map(|token| &token.header)
    }

    /// Reads the file. A token goes on being used while there is no other in its place.
    async fn look(&self) {
        let Some(file) = &self.file else {
            return;
        };
        // Others need not look meanwhile.
        self.held().looked = Instant::now();
        match read(file).await {
            Ok(token) => self.held().token = Some(token),
            Err(error) => {
                tracing::warn!(backend = %CONSUL, %error, "the old token is used further");
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(path: &Path) -> Result<Carried> {
    let place = format!("token_file={}", path.display());
    let reading = timeout(LOOK_FOR, tokio::fs::read_to_string(path)).await;
    let text = reading
        .unwrap_or_else(|late| Err(late.into()))
        .map_err(|error| invalid(format!("{place} cannot be read")).with_source(error))?;
    match text.trim() {
        "" => Err(invalid(format!("{place} is empty"))),
        token => carried(token.into(), &place),
    }
}

fn carried(secret: SecretString, place: &str) -> Result<Carried> {
    // The cause would say nothing more, and is not needed near a secret.
    let mut header = HeaderValue::from_str(secret.expose_secret())
        .map_err(|_| invalid(format!("{place} holds what no header can carry")))?;
    header.set_sensitive(true);
    Ok(Carried { secret, header })
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, CONSUL, "open").with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(token: &Option<Carried>) -> &str {
        token.as_ref().map_or("", |token| token.secret.expose_secret())
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, " one\n").unwrap();
        let config = ConsulConfig::new([]).with_token_file(&path);
        let token = Token::open(&config).await.unwrap();
        let first = token.current().await;
        assert_eq!(text(&first), "one");
        assert!(!token.has_changed(first.as_ref()).await);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(text(&token.current().await), "one");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(text(&token.current().await), "two");
        std::fs::write(&path, "three").unwrap();
        assert!(token.has_changed(first.as_ref()).await);
        // Between two tokens there may be none for a moment.
        std::fs::write(&path, "").unwrap();
        assert!(token.has_changed(first.as_ref()).await);
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(text(&token.current().await), "three");
        assert!(!format!("{token:?}").contains("three"), "{token:?}");
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_used_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let config = || ConsulConfig::new([]);
        let missing = Token::open(&config().with_token_file(&path)).await.unwrap_err();
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
        std::fs::write(&path, "\n").unwrap();
        let empty = Token::open(&config().with_token_file(&path)).await.unwrap_err();
        assert!(empty.to_string().contains("is empty"), "{empty}");
        std::fs::write(&path, "hunter2\nhunter2").unwrap();
        for config in [config().with_token_file(&path), config().with_token("hunter2\n")] {
            let error = Token::open(&config).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(Token::open(&config()).await.unwrap().current().await.is_none());
    }
}
