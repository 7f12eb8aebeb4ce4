//! The routes of the metrics port, and `/health` for the public one.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::health::{Health, Report};
use crate::http::{Refusal, json, refuse};
use crate::metrics::Metrics;

/// `/livez`, `/readyz`, `/health` (as `/readyz`) and `/metrics`. For the metrics port only: the answers
/// name every part and why it fails.
pub fn admin_router(health: Health, metrics: Metrics) -> Router {
    let live = health.clone();
    let ready = health.clone();
    Router::new()
        .route("/livez", get(async move || full(&live.live())))
        .route("/readyz", get(async move || full(&ready.ready())))
        .route("/health", get(async move || full(&health.ready())))
        .route("/metrics", get(async move || exposition(&metrics)))
        .fallback(async || refuse(Refusal::NotFound, "no such path"))
        .method_not_allowed_fallback(async || refuse(Refusal::Method, "this path is only read"))
}

/// `/health` for the public port: one word, 200 or 503, and nothing about the inside.
pub fn public_health(health: Health) -> Router {
    Router::new().route(
        "/health",
        get(async move || {
            let report = health.ready();
            json(
                status(&report),
                format!("{{\"status\":\"{}\"}}", report.status),
            )
        })
        .fallback(async || refuse(Refusal::Method, "this path is only read")),
    )
}

fn full(report: &Report) -> Response {
    let body = serde_json::to_vec(report).unwrap_or_default();
    json(status(report), body)
}

fn status(report: &Report) -> StatusCode {
    if report.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn exposition(metrics: &Metrics) -> Response {
    let mut response = Response::new(Body::from(metrics.encode()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

/// Registers what every process shows about itself: version, start time, memory and open files. Memory and
/// files are read from `/proc` at each scrape and stay 0 where there is none.
pub fn register_process(metrics: &Metrics) {
    let info = metrics.gauges::<Vec<(&'static str, &'static str)>>(
        "build_info",
        "Always 1; the label is the version of the program",
    );
    info.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))])
        .set(1);
    let started = metrics.gauge(
        "process_start_time_seconds",
        "Start of the process, Unix time",
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    started.set(i64::try_from(now.as_secs()).unwrap_or(0));
    let memory = metrics.gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is in RAM",
    );
    let files = metrics.gauge(
        "process_open_fds",
        "Open file descriptors of the process, sockets included",
    );
    metrics.before_scrape(move || {
        memory.set(resident_bytes().unwrap_or(0));
        files.set(open_files().unwrap_or(0));
    });
}

fn resident_bytes() -> Option<i64> {
    static PAGE: LazyLock<i64> = LazyLock::new(|| {
        nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .unwrap_or(4096)
    });
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * *PAGE)
}

fn open_files() -> Option<i64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(count).ok()
}
