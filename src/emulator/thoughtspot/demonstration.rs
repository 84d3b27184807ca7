//! What a demonstration does with this server.

use crate::emulator::demonstration::{Call, Demonstration};

pub fn demonstration() -> Demonstration {
    Demonstration {
        sessions: "form login, session cookies, 401 when they are dead",
        recipe: "thoughtspot",
        parameters: &[],
        login_field: "username",
        password_field: "password",
        reads: [
            Call::read(
                "list the Liveboards (REST API v1)",
                "/callosum/v1/tspublic/v1/metadata/list?type=PINBOARD_ANSWER_BOOK",
                r#""name":"Sales Performance""#,
            ),
            Call::read(
                "show the account (REST API v2)",
                "/api/rest/2.0/auth/session/user",
                super::LOGIN,
            ),
        ],
        write: Call::post(
            "import a Liveboard",
            "/api/rest/2.0/metadata/tml/import",
            r#"{"metadata_tmls":["{\"liveboard\":{\"name\":\"Written through Doorward\"}}"],"import_policy":"ALL_OR_NONE"}"#,
            r#""name":"Written through Doorward""#,
        ),
        local_login: Call::post(
            "log in as an SDK does",
            "/api/rest/2.0/auth/token/full",
            r#"{"username":"anybody","password":"anything"}"#,
            r#""token":"doorward-placeholder"#,
        ),
    }
}
