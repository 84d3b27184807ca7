//! Words of the settings in the words of the rooms that they are for.

use crate::{session, settings};

pub(super) fn streams(written: settings::Streams) -> session::Streams {
    match written {
        settings::Streams::Keep => session::Streams::Keep,
        settings::Streams::Drain => session::Streams::Drain,
        settings::Streams::Close => session::Streams::Close,
    }
}

pub(super) fn search_bodies(written: settings::SearchBodies) -> session::SearchBodies {
    match written {
        settings::SearchBodies::Identity => session::SearchBodies::Identity,
        settings::SearchBodies::Decode => session::SearchBodies::Decode,
        settings::SearchBodies::Off => session::SearchBodies::Off,
    }
}
