//! The registry client against a small registry.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use service::{SchemaRegistry, SchemaRegistryError, ServeConfig};

use crate::world::World;

#[tokio::test]
async fn a_schema_is_fetched_once_known_absent_or_refused() {
    async fn schema(Path(id): Path<u32>, headers: HeaderMap) -> (StatusCode, String) {
        let told = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        assert_eq!(told, Some("Basic bWU6aHVudGVyMg=="));
        match id {
            1 => (StatusCode::OK, r#"{"schema":"\"string\""}"#.to_owned()),
            2 => (
                StatusCode::OK,
                r#"{"schema":"message X {}","schemaType":"PROTOBUF"}"#.to_owned(),
            ),
            3 => (StatusCode::BAD_GATEWAY, String::new()),
            4 => (StatusCode::OK, "<html>".to_owned()),
            _ => (StatusCode::NOT_FOUND, r#"{"error_code":40403}"#.to_owned()),
        }
    }
    let app = Router::new().route("/api/schemas/ids/{id}", get(schema));
    let world = World::start(app, ServeConfig::default());
    let url = format!("http://me:hunter2@{}/api/", world.address);
    let registry = SchemaRegistry::new(&url).unwrap();
    assert_eq!(
        registry.fetch(1).await.unwrap().as_deref(),
        Some("\"string\"")
    );
    assert_eq!(registry.fetch(2).await.unwrap(), None);
    assert_eq!(registry.fetch(9).await.unwrap(), None);
    for id in [3, 4] {
        let error = registry.fetch(id).await.unwrap_err();
        assert!(matches!(error, SchemaRegistryError::Away(_)));
    }
    world.stopped().await.unwrap();
    assert!(registry.fetch(1).await.is_err());
}
