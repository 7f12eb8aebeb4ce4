//! The metrics port as a scraper and an orchestrator see it.

use std::time::Duration;

use service::{Health, Metrics, ServeConfig};

use crate::world::World;

#[tokio::test]
async fn health_says_why_on_the_metrics_port_and_only_whether_on_the_public_one() {
    let health = Health::new("test");
    let metrics = Metrics::new();
    service::admin::register_process(&metrics);
    let log = health.component("log", Duration::from_secs(60));
    let admin = World::start(
        service::admin_router(health.clone(), metrics),
        ServeConfig::default(),
    );
    let public = World::start(
        service::admin::public_health(health.clone()),
        ServeConfig::default(),
    );
    log.failing("no leader for partition 3");
    let ready = admin.get("/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("no leader"),
        "{ready}"
    );
    let told = public.get("/health").await;
    assert!(
        told.starts_with("HTTP/1.1 503") && !told.contains("leader"),
        "{told}"
    );
    assert!(admin.get("/livez").await.starts_with("HTTP/1.1 200"));

    log.ok();
    assert!(admin.get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(public.get("/health").await.ends_with("{\"status\":\"ok\"}"));
    health.drain();
    assert!(admin.get("/readyz").await.starts_with("HTTP/1.1 503"));

    let numbers = admin.get("/metrics").await;
    assert!(numbers.contains("application/openmetrics-text"));
    assert!(numbers.contains("rivermouth_build_info{version=\"") && numbers.contains("# EOF"));
    let missing = admin.get("/debug").await;
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("NOT_FOUND"));
    admin.stopped().await.unwrap();
    public.stopped().await.unwrap();
}
