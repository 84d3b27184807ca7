//! What a client of each vendor asks for: a read, a write that can be told from every other.

use doorward::emulator::{Vendor, contentstack, mfiles};
use serde_json::json;

use crate::client::Call;
use crate::harness::Scene;

/// The read of [`read`], as a hold or a forced answer matches it.
pub fn read_line(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Contentstack => "GET /v3/content_types",
        Vendor::ThoughtSpot => "GET /callosum/v1/tspublic/v1/metadata/list",
        Vendor::MFiles => "GET /REST/views/items",
    }
}

/// The write of [`write`], as a hold or a forced answer matches it.
pub fn write_line(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Contentstack => "POST /v3/content_types/page/entries",
        Vendor::ThoughtSpot => "POST /api/rest/2.0/metadata/tml/import",
        Vendor::MFiles => "POST /REST/files",
    }
}

/// The login call.
pub fn login_line(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Contentstack => "POST /v3/user-session",
        Vendor::ThoughtSpot => "POST /callosum/v1/tspublic/v1/session/login",
        Vendor::MFiles => "POST /REST/server/authenticationtokens",
    }
}

/// The logout call.
pub fn logout_line(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Contentstack => "DELETE /v3/user-session",
        Vendor::ThoughtSpot => "POST /callosum/v1/tspublic/v1/session/logout",
        Vendor::MFiles => "POST /REST/session.aspx",
    }
}

/// A read that needs a session.
pub fn read(scene: &Scene) -> Call {
    match scene.emulator.vendor() {
        Vendor::Contentstack => {
            scene.call("GET", "/v3/content_types").header("api_key", contentstack::API_KEY)
        }
        Vendor::ThoughtSpot => {
            let target = "/callosum/v1/tspublic/v1/metadata/list?type=PINBOARD_ANSWER_BOOK";
            scene.call("GET", target)
        }
        Vendor::MFiles => scene.call("GET", "/REST/views/items").header("x-vault", mfiles::VAULT),
    }
}

/// A write that needs a session; no two numbers write the same.
pub fn write(scene: &Scene, number: usize) -> Call {
    let name = format!("write {number}");
    match scene.emulator.vendor() {
        Vendor::Contentstack => scene
            .call("POST", "/v3/content_types/page/entries")
            .header("api_key", contentstack::API_KEY)
            .json(&json!({ "entry": { "title": name } })),
        Vendor::ThoughtSpot => {
            let tml = json!({ "liveboard": { "name": name } }).to_string();
            let import = json!({ "metadata_tmls": [tml], "import_policy": "ALL_OR_NONE" });
            scene.call("POST", "/api/rest/2.0/metadata/tml/import").json(&import)
        }
        Vendor::MFiles => {
            scene.call("POST", "/REST/files").header("x-vault", mfiles::VAULT).body(name)
        }
    }
}
