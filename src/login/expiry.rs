//! When a session ends, as far as answers and the recipe tell.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::extract;
use crate::recipe::template::Values;
use crate::recipe::{ExpiryUnit, SessionRules};

/// The end of a session with these values, at most `longest`.
pub(super) fn judge(
    rules: &SessionRules,
    values: &Values,
    longest: Option<SystemTime>,
    now: SystemTime,
) -> Option<SystemTime> {
    let (name, unit) = rules.expires.as_ref().map(|(name, unit)| (name.as_str(), *unit)).unzip();
    let told = name.zip(unit).and_then(|(name, unit)| moment(values.text(name), unit, now));
    // A session that ended before it began: the clocks differ. Its answers will tell when it is
    // dead.
    let told = told.filter(|end| *end > now);
    told.into_iter().chain(longest).min()
}

/// The moment that `text` names; nothing when it cannot be read.
fn moment(text: &str, unit: ExpiryUnit, now: SystemTime) -> Option<SystemTime> {
    let number = || text.parse::<u64>().ok().or_else(|| text.parse::<f64>().ok().map(|n| n as u64));
    let after_epoch = |since| UNIX_EPOCH.checked_add(since);
    match unit {
        ExpiryUnit::Seconds => now.checked_add(Duration::from_secs(number()?)),
        ExpiryUnit::Milliseconds => now.checked_add(Duration::from_millis(number()?)),
        ExpiryUnit::EpochSeconds => after_epoch(Duration::from_secs(number()?)),
        ExpiryUnit::EpochMilliseconds => after_epoch(Duration::from_millis(number()?)),
        ExpiryUnit::EpochMicroseconds => after_epoch(Duration::from_micros(number()?)),
        ExpiryUnit::Rfc3339 => text.parse::<jiff::Timestamp>().ok().map(SystemTime::from),
        ExpiryUnit::Jwt => {
            after_epoch(Duration::from_secs(extract::claims(text)?.get("exp")?.as_u64()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    #[test]
    fn the_end_of_a_session_is_read_in_every_unit() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let end = |text: &str, unit| {
            moment(text, unit, now).map(|end| end.duration_since(UNIX_EPOCH).unwrap().as_millis())
        };
        assert_eq!(end("300", ExpiryUnit::Seconds), Some(1_300_000));
        assert_eq!(end("1500", ExpiryUnit::Milliseconds), Some(1_001_500));
        assert_eq!(end("2000", ExpiryUnit::EpochSeconds), Some(2_000_000));
        assert_eq!(end("2000500", ExpiryUnit::EpochMilliseconds), Some(2_000_500));
        assert_eq!(end("2000500000", ExpiryUnit::EpochMicroseconds), Some(2_000_500));
        assert_eq!(end("1970-01-01T00:40:00.123456Z", ExpiryUnit::Rfc3339), Some(2_400_123));
        assert_eq!(end("1970-01-01T00:40:00.123+0000", ExpiryUnit::Rfc3339), Some(2_400_123));
        let token = format!("e30.{}.sig", BASE64URL_NOPAD.encode(br#"{"exp":4000}"#));
        assert_eq!(end(&token, ExpiryUnit::Jwt), Some(4_000_000));
        assert_eq!(end("soon", ExpiryUnit::Seconds), None);
        assert_eq!(end("18446744073709551615", ExpiryUnit::Seconds), None);
        assert_eq!(end("e30.!!.sig", ExpiryUnit::Jwt), None);
    }
}
