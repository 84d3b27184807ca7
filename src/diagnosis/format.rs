//! What the `format` of a schema promises about a value, and how a person calls it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regex::Regex;

/// What to call a string of this format.
pub(super) fn noun(format: &str) -> Option<&'static str> {
    Some(match format {
        "duration" => "a duration with its unit",
        "uri" | "url" => "a URL",
        "date-time" => "a date and time",
        "regex" => "a regular expression",
        "ip" | "ipv4" | "ipv6" => "an IP address",
        _ => return None,
    })
}

/// What is wrong with `text` as a string of this format.
pub(super) fn fault(format: &str, text: &str) -> Option<String> {
    let wrong = |what: &str| Some(format!("this is not {what}"));
    match format {
        "duration" => {
            let fault = text.parse::<jiff::SignedDuration>().err()?;
            Some(format!("this is not a duration with its unit: {fault}"))
        }
        "date-time" if text.parse::<jiff::Timestamp>().is_err() => wrong("a date and time"),
        "regex" => Regex::new(text).err().map(|fault| {
            let reason = fault.to_string();
            // The crate draws the expression with a caret; its last line says what is wrong.
            let reason = reason.lines().last().unwrap_or_default();
            format!("this is not a regular expression: {}", reason.trim_start_matches("error: "))
        }),
        "ip" if text.parse::<IpAddr>().is_err() => wrong("an IP address"),
        "ipv4" if text.parse::<Ipv4Addr>().is_err() => wrong("an IPv4 address"),
        "ipv6" if text.parse::<Ipv6Addr>().is_err() => wrong("an IPv6 address"),
        _ => None,
    }
}

/// The smallest and the largest integer of this format.
pub(super) fn bounds(format: &str) -> Option<(i128, i128)> {
    Some(match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    })
}
