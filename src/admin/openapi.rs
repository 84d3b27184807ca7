//! The description of the admin API (OpenAPI 3.1), out of the list of its operations and the types
//! of its answers.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answers::Problem;
use super::routes::{Answer, Operation, operations};

/// Where schemas stand in the description.
const SCHEMAS: &str = "/components/schemas";

/// The whole description.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    // What is described is what answers say; bodies have no member that is written otherwise.
    let mut generator = settings.for_serialize().into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths = Map::new();
    for operation in operations() {
        let Operation { method, path, summary, query, body, answer, .. } = operation;
        let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path.map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        });
        let in_query = query.iter().map(|(name, description)| {
            json!({
                "name": name, "in": "query", "required": false, "description": description,
                "schema": { "type": "string" },
            })
        });
        let parameters: Vec<_> = in_path.chain(in_query).collect();
        let (kind, schema) = match answer {
            Answer::Json(schema) => ("application/json", schema(&mut generator).to_value()),
            Answer::Other(kind) => (kind, json!({})),
        };
        let mut described = json!({
            "summary": summary,
            "operationId": operation_id(method.as_str(), path),
            "parameters": parameters,
            "responses": {
                "200": { "description": "It is so.", "content": { kind: { "schema": schema } } },
                "default": {
                    "description": "Why not.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        });
        if let (Some(body), Some(members)) = (body, described.as_object_mut()) {
            let schema = body(&mut generator).to_value();
            let content = json!({ "application/json": { "schema": schema } });
            members.insert("requestBody".into(), json!({ "required": true, "content": content }));
        }
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(method.as_str().to_lowercase(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Doorward admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What operators see of a running Doorward, and do to it.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
            },
        },
        // At the Unix socket nothing is asked for.
        "security": [{}, { "token": [] }],
    })
}

/// A name for generated clients: the method and the path without what is the same in all.
fn operation_id(method: &str, path: &str) -> String {
    let parts = path.trim_start_matches("/admin/v1").split(['/', '{', '}', '.']);
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => format!("{}_page", method.to_lowercase()),
        parts => format!("{}_{}", method.to_lowercase(), parts.join("_")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Fails when generated clients would get two operations under one name, or a schema refers to
    /// nothing.
    #[test]
    fn every_operation_has_a_name_and_every_reference_an_end() {
        let document = document();
        let operations = operations();
        let ids: BTreeSet<_> =
            operations.iter().map(|one| operation_id(one.method.as_str(), one.path)).collect();
        assert_eq!(ids.len(), operations.len(), "{ids:?}");
        let text = document.to_string();
        let references = text.split("\"$ref\":\"#").skip(1);
        let references: BTreeSet<&str> =
            references.map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 10, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
