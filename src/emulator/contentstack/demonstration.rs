//! What a demonstration does with this server.

use http::StatusCode;

use crate::emulator::demonstration::{Call, Demonstration};

/// The stack that the calls are about.
const STACK: &[(&str, &str)] = &[("api_key", super::API_KEY)];

pub fn demonstration() -> Demonstration {
    Demonstration {
        sessions: "JSON login, one token in a header, 401 when it is dead",
        recipe: "contentstack",
        parameters: &[],
        login_field: "username",
        password_field: "password",
        reads: [
            Call {
                headers: STACK,
                ..Call::read("list the content types", "/v3/content_types", r#""content_types":["#)
            },
            Call::read("show the account, with its token masked", "/v3/user", super::LOGIN),
        ],
        write: Call {
            headers: STACK,
            status: StatusCode::CREATED,
            ..Call::post(
                "create an entry",
                "/v3/content_types/article/entries",
                r#"{"entry":{"title":"Written through Doorward"}}"#,
                r#""title":"Written through Doorward""#,
            )
        },
        local_login: Call::post(
            "log in as an SDK does",
            "/v3/user-session",
            r#"{"user":{"email":"anybody@example.com","password":"anything"}}"#,
            r#""authtoken":"doorward-placeholder"#,
        ),
    }
}
