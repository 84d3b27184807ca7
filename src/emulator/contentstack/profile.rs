//! The user object of login and `GET /user`.

use serde_json::{Map, Value, json};

use super::accounts::Account;
use super::{API_KEY, ORGANIZATION, OTHER_ORGANIZATION};
use crate::emulator::user::Kind;

/// The user as the vendor describes it; without a token for users of single sign-on.
pub fn user(account: &Account, token: Option<&str>, roles: usize) -> Value {
    let second_factor = matches!(account.user.kind, Kind::SecondFactor { .. });
    let mut user = json!({
        "uid": account.uid,
        "created_at": "2016-06-30T05:02:27.516Z",
        "updated_at": "2019-07-16T10:35:30.898Z",
        "email": account.user.login,
        "username": account.user.login,
        "first_name": "Kettle",
        "last_name": "Marl",
        "company": "Example",
        "org_uid": [ORGANIZATION],
        "shared_org_uid": [OTHER_ORGANIZATION],
        "mobile_number": "9898989898",
        "country_code": "91",
        "tfa_status": if second_factor { "verified" } else { "pending" },
        "authy_id": "123123123",
        "active": true,
        "failed_attempts": 0,
        "roles": (0..roles).map(role).collect::<Vec<_>>(),
    });
    if let Some(fields) = user.as_object_mut() {
        if let Some(token) = token {
            fields.insert("authtoken".to_owned(), token.into());
        }
        fields.extend(account.changed.clone());
    }
    user
}

/// The fields of an update that a user may change about himself.
pub fn changeable(update: &Map<String, Value>) -> Map<String, Value> {
    let names = ["first_name", "last_name", "company", "mobile_number", "country_code"];
    let kept = update.iter().filter(|(name, _)| names.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn role(number: usize) -> Value {
    let rule = |module: &str, plural: &str| {
        json!({
            "module": module,
            plural: ["$all"],
            "acl": { "create": true, "read": true, "update": true, "delete": true },
        })
    };
    json!({
        "uid": format!("bltc0aa00ea{number:08x}"),
        "name": format!("Developer {number}"),
        "description": "Developer can perform all Content Manager's actions, view audit logs, \
                        create roles, invite users, manage content types, languages, and \
                        environments.",
        "users": ["sys_blt3a3333e33b30c3ea"],
        "created_at": "2016-03-21T10:15:09.434Z",
        "updated_at": "2018-06-20T10:44:19.618Z",
        "api_key": API_KEY,
        "rules": [
            rule("locale", "locales"),
            rule("environment", "environments"),
            rule("asset", "assets"),
        ],
    })
}
