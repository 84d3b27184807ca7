//! What is done about session values in bodies of answers, as an operator writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether bodies of answers are searched for session values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchBodies {
    /// All of them. The upstream is asked for bodies as they are, without compression, and for
    /// whole ones: `Range` is not sent on, and a client that sends it gets all. A compressed answer
    /// that comes all the same is decoded as it streams; one in a coding that is not known is
    /// withheld.
    #[default]
    Identity,
    /// All of them, and the upstream may compress: it is asked for those of the client's codings
    /// that Doorward reads (gzip, deflate, br, zstd; all of them where the client names none). The
    /// client gets the body decoded, with a weak `ETag`. Saves the way to the upstream, costs
    /// processor time, and for each such answer memory for its window (at most 16 MiB a coding).
    Decode,
    /// None: compression and ranges are between client and upstream, and a session value in a body
    /// reaches the client, but for the endpoints that the recipe marks.
    Off,
}
