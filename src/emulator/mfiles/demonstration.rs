//! What a demonstration does with this server.

use crate::emulator::demonstration::{Call, Demonstration};

pub fn demonstration() -> Demonstration {
    Demonstration {
        sessions: "a token for any password, so the login verifies it; 403 when it is dead",
        recipe: "mfiles",
        parameters: &[("vault", super::VAULT)],
        login_field: "username",
        password_field: "password",
        reads: [
            Call::read("search the vault", "/REST/objects?q=handbook", r#""Title":"Handbook""#),
            Call::read("show the session", "/REST/session", r#""AccountName":"Kettle""#),
        ],
        write: Call::post(
            "create a document",
            "/REST/objects/0",
            r#"{"PropertyValues":[{"PropertyDef":0,"TypedValue":{"DataType":1,"Value":"Written through Doorward"}}]}"#,
            r#""Title":"Written through Doorward""#,
        ),
        local_login: Call::post(
            "log in as an SDK does",
            "/REST/server/authenticationtokens",
            r#"{"Username":"anybody","Password":"anything"}"#,
            r#""Value":"doorward-placeholder"#,
        ),
    }
}
