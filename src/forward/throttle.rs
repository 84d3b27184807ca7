//! What an upstream's answer says of the upstream's own limits: how long it wants to be left alone,
//! and what is left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, header};

use crate::fields::{self, Fields};
use crate::recipe::{ResetUnit, Throttle};

/// The field that a draft for all vendors names (draft-ietf-httpapi-ratelimit-headers section 4).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What an answer says is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How many requests.
    pub requests: u64,
    /// When there are more, if it says so.
    pub reset: Option<Duration>,
}

/// `Retry-After` (RFC 9110 section 10.2.3), in seconds or as a date; nothing where there is none,
/// and none in the future.
pub fn retry_after(headers: &Fields, wall: SystemTime) -> Option<Duration> {
    let value = text(headers, &header::RETRY_AFTER)?;
    let units = [ResetUnit::Seconds, ResetUnit::HttpDate];
    units.into_iter().find_map(|unit| time(value, unit, wall))
}

/// How long an upstream wants to be left alone that has answered 429: as its answer says, or else as
/// long as the recipe says.
pub fn pause(throttle: &Throttle, headers: &Fields, wall: SystemTime) -> Duration {
    retry_after(headers, wall)
        .or_else(|| reset(throttle, headers, wall))
        .or_else(|| standard(throttle, headers).and_then(|left| left.reset))
        .filter(|time| !time.is_zero())
        .unwrap_or(throttle.pause)
}

/// What an answer says is left; nothing where the recipe knows of no field for it, or the field is
/// not there.
pub fn left(
    throttle: &Throttle,
    headers: &Fields,
    wall: impl FnOnce() -> SystemTime,
) -> Option<Left> {
    let Some(name) = &throttle.remaining else { return standard(throttle, headers) };
    let Some(requests) = text(headers, name).and_then(|text| text.parse().ok()) else {
        return standard(throttle, headers);
    };
    // When there are more matters only where nothing is left.
    let reset = if requests == 0 { reset(throttle, headers, wall()) } else { None };
    Some(Left { requests, reset })
}

/// The least that `RateLimit` says is left of any of its policies: `"name";r=0;t=30`.
fn standard(throttle: &Throttle, headers: &Fields) -> Option<Left> {
    if !throttle.ratelimit {
        return None;
    }
    let values = headers.get_all(RATE_LIMIT).filter_map(fields::text);
    let items = values.flat_map(|text| text.split(','));
    let left = items.filter_map(|item| {
        let number = |name: &str| {
            let parameters = item.split(';').skip(1);
            let found = parameters.filter_map(|parameter| parameter.trim().split_once('='));
            found.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
        };
        Some(Left { requests: number("r")?, reset: number("t").map(Duration::from_secs) })
    });
    // Of two with nothing left, the one that takes longer.
    left.min_by_key(|left| (left.requests, std::cmp::Reverse(left.reset)))
}

fn reset(throttle: &Throttle, headers: &Fields, wall: SystemTime) -> Option<Duration> {
    let (name, unit) = throttle.reset.as_ref()?;
    time(text(headers, name)?, *unit, wall)
}

/// A time as an upstream writes it, from now on.
fn time(text: &str, unit: ResetUnit, wall: SystemTime) -> Option<Duration> {
    let moment = match unit {
        ResetUnit::Seconds => return text.parse().ok().map(Duration::from_secs),
        ResetUnit::Milliseconds => return text.parse().ok().map(Duration::from_millis),
        ResetUnit::EpochSeconds => {
            UNIX_EPOCH.checked_add(Duration::from_secs(text.parse().ok()?))?
        }
        ResetUnit::EpochMilliseconds => {
            UNIX_EPOCH.checked_add(Duration::from_millis(text.parse().ok()?))?
        }
        ResetUnit::HttpDate => httpdate::parse_http_date(text).ok()?,
    };
    moment.duration_since(wall).ok()
}

fn text<'h>(headers: &'h Fields, name: &HeaderName) -> Option<&'h str> {
    headers.text(name).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110.
    fn wall() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn headers(fields: &[(&'static str, &str)]) -> Fields {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn throttle() -> Throttle {
        Throttle { pause: Duration::from_secs(9), ..Throttle::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pause_is_as_long_as_the_answer_says_or_else_the_recipe() {
        for (value, expected) in [
            ("7", 7),
            (" 120 ", 120),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
            ("Sun Nov  6 08:50:37 1994", 60),
            ("Sun, 06 Nov 1994 08:49:36 GMT", 9),
            ("0", 9),
            ("soon", 9),
            ("-1", 9),
            ("99999999999999999999", 9),
        ] {
            let headers = headers(&[("retry-after", value)]);
            assert_eq!(pause(&throttle(), &headers, wall()), seconds(expected), "{value}");
        }
        assert_eq!(pause(&throttle(), &Fields::new(), wall()), seconds(9));
    }

    #[test]
    fn a_reset_is_read_only_where_the_recipe_names_it_and_as_it_says() {
        let name = HeaderName::from_static("x-ratelimit-reset");
        for (unit, value) in [
            (ResetUnit::Seconds, "60"),
            (ResetUnit::Milliseconds, "60000"),
            (ResetUnit::EpochSeconds, "784111837"),
            (ResetUnit::EpochMilliseconds, "784111837000"),
            (ResetUnit::HttpDate, "Sun, 06 Nov 1994 08:50:37 GMT"),
        ] {
            let headers = headers(&[("x-ratelimit-reset", value)]);
            let named = Throttle { reset: Some((name.clone(), unit)), ..throttle() };
            assert_eq!(pause(&named, &headers, wall()), seconds(60), "{unit:?}");
            assert_eq!(pause(&throttle(), &headers, wall()), seconds(9), "{unit:?}");
        }
    }

    #[test]
    fn what_is_left_is_read_only_where_the_recipe_names_it() {
        let fields = headers(&[("x-left", "0"), ("x-reset", "60"), ("ratelimit", "\"a\";r=0;t=5")]);
        assert_eq!(left(&throttle(), &fields, wall), None);
        let named = Throttle {
            remaining: Some(HeaderName::from_static("x-left")),
            reset: Some((HeaderName::from_static("x-reset"), ResetUnit::Seconds)),
            ..throttle()
        };
        let expected = Left { requests: 0, reset: Some(seconds(60)) };
        assert_eq!(left(&named, &fields, wall), Some(expected));
        assert_eq!(left(&named, &headers(&[("x-left", "none")]), wall), None);
    }

    #[test]
    fn the_field_of_the_draft_tells_of_its_scarcest_policy() {
        let throttle = Throttle { ratelimit: true, ..throttle() };
        for (value, expected) in [
            ("\"default\";r=50;t=30", Some((50, Some(30)))),
            ("\"hour\";r=50;t=3000, \"second\";r=0;t=1", Some((0, Some(1)))),
            ("\"a\";r=0;t=1, \"b\";r=0;t=60", Some((0, Some(60)))),
            ("\"a\" ; r=3", Some((3, None))),
            ("limit=100, remaining=0", None),
            ("\"a\";t=1", None),
        ] {
            let expected =
                expected.map(|(requests, reset)| Left { requests, reset: reset.map(seconds) });
            assert_eq!(
                left(&throttle, &headers(&[("ratelimit", value)]), wall),
                expected,
                "{value}"
            );
        }
    }
}
