//! An upstream that calls a session dead.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::puppet::{Puppet, Reply};

/// What Contentstack says of a dead token.
pub const DEAD: &str = r#"{"error_code":105,"errors":{"authtoken":["is not valid."]}}"#;

pub fn dead() -> Reply {
    Reply::keep(format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nx-first: yes\r\n\
         content-length: {}\r\n\r\n{DEAD}",
        DEAD.len()
    ))
}

/// Calls every session dead for the first `times` calls.
pub async fn dead_at_first(times: usize) -> Puppet {
    let calls = AtomicUsize::new(0);
    Puppet::logged_in(move |_| match calls.fetch_add(1, Ordering::Relaxed) < times {
        true => dead(),
        false => Reply::json(r#"{"ok":true}"#),
    })
    .await
}

pub fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

pub fn logins(puppet: &Puppet) -> usize {
    puppet.requests().iter().filter(|request| request.starts_with("POST /v3/user-session")).count()
}
