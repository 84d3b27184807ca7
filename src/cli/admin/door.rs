//! Finds the socket of a running gateway and asks it.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::admin;
use crate::admin::answers::{Page, Problem};
use crate::settings::{Doors, Sources};

/// Parts of a list that are asked for; more are no list for a terminal.
const PARTS_MAX: usize = 100;

/// The longest answer, in bytes; all but streams are far shorter.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The socket of a gateway.
#[derive(Clone, Debug)]
pub(super) struct Door {
    path: PathBuf,
}

/// Why a gateway did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// No gateway listens where one should.
    #[error("no gateway listens at {}", .tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or "))]
    Nobody {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The answer did not come.
    #[error("the gateway does not answer: {0}")]
    Broken(io::Error),
    /// The gateway says why not.
    #[error("{detail} ({code})")]
    Refused {
        /// In words.
        detail: String,
        /// The code.
        code: String,
    },
    /// The answer is none of this version's.
    #[error("the gateway's answer is not understood; is it of another version? {0}")]
    NotUnderstood(String),
}

impl AskError {
    /// What may help.
    pub(super) fn helps(&self) -> Vec<String> {
        let Self::Nobody { source, .. } = self else { return Vec::new() };
        match source.kind() {
            io::ErrorKind::PermissionDenied => vec![
                "the socket is for the user that the gateway runs as: ask as that user, or as the \
                 superuser"
                    .to_owned(),
            ],
            _ => vec![
                "is it running, with the admin API (`[admin]`)? `doorward run` prints where"
                    .to_owned(),
                "name its socket by --socket, or its configuration by -c".to_owned(),
            ],
        }
    }
}

impl Door {
    /// The one that is named, else the one that the configuration names, else the first of the usual
    /// ones that is there.
    pub(super) fn find(named: Option<PathBuf>, sources: &Sources) -> Result<Self, AskError> {
        let named = named.or_else(|| Doors::read(sources).socket);
        let variable = |name: &str| sources.environment.variable(name);
        let tried = match named {
            Some(path) => vec![path],
            None => {
                let (usual, service) = (admin::usual_socket(variable), admin::service_socket());
                let service = (service != usual).then_some(service);
                [usual].into_iter().chain(service).collect()
            }
        };
        let is_there = |path: &&PathBuf| {
            std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
        };
        match tried.iter().find(is_there) {
            Some(path) => Ok(Self { path: path.clone() }),
            None => Err(AskError::Nobody { tried, source: io::ErrorKind::NotFound.into() }),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, AskError> {
        self.read(self.send(Method::GET, target, Bytes::new()).await?).await
    }

    /// Asks for all parts of a list.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, AskError> {
        let (mut items, mut after) = (Vec::new(), String::new());
        for _ in 0..PARTS_MAX {
            let target = format!("{path}?limit=1000{after}");
            let page: Page<T> = self.get(&target).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        Ok(items)
    }

    /// Has something done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &serde_json::Value,
    ) -> Result<T, AskError> {
        self.read(self.send(Method::POST, target, Bytes::from(body.to_string())).await?).await
    }

    /// The status and the text of an answer, whatever it is.
    pub(super) async fn text(&self, target: &str) -> Result<(StatusCode, String), AskError> {
        let response = self.send(Method::GET, target, Bytes::new()).await?;
        let status = response.status();
        Ok((status, String::from_utf8_lossy(&whole(response).await?).into_owned()))
    }

    /// A stream of events.
    pub(super) async fn stream(&self, target: &str) -> Result<Response<Incoming>, AskError> {
        let response = self.send(Method::GET, target, Bytes::new()).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refused(&whole(response).await?)),
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, AskError> {
        let is_good = response.status().is_success();
        let body = whole(response).await?;
        match is_good {
            true => serde_json::from_slice(&body)
                .map_err(|error| AskError::NotUnderstood(error.to_string())),
            false => Err(refused(&body)),
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, AskError> {
        let nobody = |source| AskError::Nobody { tried: vec![self.path.clone()], source };
        let stream = UnixStream::connect(&self.path).await.map_err(nobody)?;
        let broken = |error: hyper::Error| AskError::Broken(io::Error::other(error));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| AskError::Broken(io::Error::other(error)))?;
        sender.send_request(request).await.map_err(broken)
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(|error| AskError::Broken(io::Error::other(error)))?;
    Ok(body.to_bytes())
}

fn refused(body: &[u8]) -> AskError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => AskError::Refused { detail: problem.detail, code: problem.code },
        Err(error) => AskError::NotUnderstood(error.to_string()),
    }
}
