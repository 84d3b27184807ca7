//! A faithful local M-Files: not built yet, answers 501.

use std::sync::Arc;

use crate::emulator::house::House;
use crate::emulator::site::Site;
use crate::emulator::unbuilt::Unbuilt;

/// The login of the user that is there from the start.
pub const LOGIN: &str = "Kettle";

/// That user's password.
pub const PASSWORD: &str = "p\"w%&=+é-mfiles-89";

pub(super) fn site(_: &Arc<House>) -> Arc<dyn Site> {
    Arc::new(Unbuilt)
}
