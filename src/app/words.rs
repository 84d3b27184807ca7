//! Words of the settings in the words of the rooms that they are for.

use crate::{session, settings, upstream};

pub(super) fn http2(written: settings::Http2) -> upstream::Http2 {
    match written {
        settings::Http2::Auto => upstream::Http2::Auto,
        settings::Http2::Never => upstream::Http2::Never,
        settings::Http2::Always => upstream::Http2::Always,
    }
}

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

pub(super) fn tolerance(written: settings::Tolerance) -> upstream::Tolerance {
    let settings::Tolerance { failures_max, pause, pause_max } = written;
    upstream::Tolerance { failures_max, pause, pause_max }
}
