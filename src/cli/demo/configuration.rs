//! The configuration that the demonstration runs Doorward with: the same text that a user would
//! write.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::emulator::{Emulator, Vendor};

/// The file with a vendor's password, beside the configuration.
pub(super) fn password_file(vendor: Vendor) -> String {
    format!("{vendor}.password")
}

/// What Doorward's path for a vendor begins with.
pub(super) fn prefix(vendor: Vendor) -> String {
    format!("/{vendor}")
}

/// One listener, and an upstream with one account and one route for each emulator.
pub(super) fn text(listener: SocketAddr, emulators: &[Emulator]) -> String {
    let mut text = format!(
        r#"# What `doorward demo` runs. Every upstream here is an emulator on this machine.

[listeners.local]
address = "{listener}"
access = "open"

[timeouts]
request = "10s"
login = "5s"
# The walk ends sessions on purpose, faster than a real account's.
login_distance = "0s"
drain = "2s"

[runtime]
cores = 2
"#
    );
    for emulator in emulators {
        text.push_str(&upstream(emulator));
    }
    text
}

fn upstream(emulator: &Emulator) -> String {
    let vendor = emulator.vendor();
    let demonstration = vendor.demonstration();
    let mut text = format!(
        "\n[upstreams.{vendor}]\nurl = {}\nrecipe = {}\n",
        quoted(&emulator.origin()),
        quoted(demonstration.recipe)
    );
    for (name, value) in demonstration.parameters {
        // Writing to a text cannot fail.
        _ = writeln!(text, "parameters.{name} = {}", quoted(value));
    }
    text + &format!(
        r#"
[upstreams.{vendor}.accounts.demo]
{login_field} = {login}
{password_field} = {{ file = {file} }}

[[routes]]
path = {prefix}
strip_prefix = true
upstream = "{vendor}"
"#,
        login_field = demonstration.login_field,
        login = quoted(&vendor.seeded_user().login),
        password_field = demonstration.password_field,
        file = quoted(&password_file(vendor)),
        prefix = quoted(&prefix(vendor)),
    )
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
