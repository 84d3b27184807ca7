//! What becomes of upstreams and addresses that fail, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;
use crate::settings::defaults;

/// When an address that fails is left out.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct Ejection {
    /// So many failures in a row have an address left out. 0: none ever is.
    #[schemars(range(max = 1000))]
    pub(in crate::settings) failures_max: u32,
    /// For how long at first; twice as long each further time, less up to a fifth by chance.
    pub(in crate::settings) pause: DurationText,
    /// For how long at most.
    pub(in crate::settings) pause_max: DurationText,
}

/// When an upstream that cannot be reached is not tried any more.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::settings) struct Circuit {
    /// So many failures in a row open the circuit. 0: it never opens.
    #[schemars(range(max = 1000))]
    pub(in crate::settings) failures_max: u32,
    /// For how long at first; twice as long each further time, less up to a fifth by chance.
    pub(in crate::settings) pause: DurationText,
    /// For how long at most.
    pub(in crate::settings) pause_max: DurationText,
}

impl Default for Ejection {
    fn default() -> Self {
        let (failures_max, pause, pause_max) = defaults::ejection();
        Self { failures_max, pause, pause_max }
    }
}

impl Default for Circuit {
    fn default() -> Self {
        let (failures_max, pause, pause_max) = defaults::circuit();
        Self { failures_max, pause, pause_max }
    }
}
