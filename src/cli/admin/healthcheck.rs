//! `doorward healthcheck`: whether a gateway lives, as an exit code for containers.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::Exit;
use super::door::AskError;
use super::words::plain;
use super::{Gateway, runtime, tell};
use crate::secret::Environment;
use crate::settings::Doors;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Exit with 0 where a gateway lives and with 1 where it does not, for HEALTHCHECK in containers
#[derive(Clone, Debug, clap::Args)]
pub struct Healthcheck {
    #[command(flatten)]
    gateway: Gateway,
    /// Ask whether it takes requests, not only whether it lives
    #[arg(long)]
    ready: bool,
    /// How long the answer may take, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u64,
}

impl Healthcheck {
    /// Asks at the socket of the admin API, or else at `health.address`. Prints the answer to `out`
    /// where it is good, to `errors` where it is not.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let target = if self.ready { "/readyz" } else { "/livez" };
        let health = Doors::read(&self.gateway.config.sources(environment.clone())).health;
        let asking = async {
            match (self.gateway.door(environment), health) {
                (Ok(door), _) => door.text(target).await,
                (Err(_), Some(address)) => ask(address, target).await.map_err(AskError::Broken),
                (Err(error), None) => Err(error),
            }
        };
        let time = Duration::from_secs(self.timeout.max(1));
        let asked = runtime()?.block_on(async { timeout(time, asking).await });
        let too_late = || Err(AskError::Broken(io::ErrorKind::TimedOut.into()));
        match asked.unwrap_or_else(|_| too_late()) {
            Ok((StatusCode::OK, text)) => {
                write!(out, "{}", plain_lines(&text))?;
                Ok(Exit::Ok)
            }
            Ok((status, text)) => {
                write!(errors, "{status}: {}", plain_lines(&text))?;
                Ok(Exit::Failed)
            }
            Err(error) => {
                tell(&error, errors)?;
                // A container knows no other number.
                Ok(Exit::Failed)
            }
        }
    }
}

fn plain_lines(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}

/// Asks the listener for those who watch.
async fn ask(address: SocketAddr, target: &str) -> io::Result<(StatusCode, String)> {
    let address = match address.ip() {
        // What listens everywhere listens here.
        ip if ip.is_unspecified() && ip.is_ipv4() => {
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        }
        ip if ip.is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
        }
        _ => address,
    };
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<StatusCode>().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
