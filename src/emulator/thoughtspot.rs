//! A faithful local ThoughtSpot: not built yet, answers 501.

use std::sync::Arc;

use super::house::House;
use super::site::Site;
use super::unbuilt::Unbuilt;

/// The login of the user that is there from the start.
pub const LOGIN: &str = "kettle@thoughtspot.example";

/// That user's password.
pub const PASSWORD: &str = "p\"w%&=+é-thoughtspot-31";

pub(super) fn site(_: &Arc<House>) -> Arc<dyn Site> {
    Arc::new(Unbuilt)
}
