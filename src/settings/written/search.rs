//! What is done about session values in bodies of answers, as an operator writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether bodies of answers are searched for session values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchBodies {
    /// All of them. The upstream is asked for bodies as they are, without compression, and for
    /// whole ones: `Range` is not sent on, and a client that sends it gets all. A compressed answer
    /// that comes all the same is decoded where that can be done within
    /// `limits.login_answer_bytes_max`, else withheld.
    #[default]
    Identity,
    /// None: compression and ranges are between client and upstream, and a session value in a body
    /// reaches the client, but for the endpoints that the recipe marks.
    Off,
}
