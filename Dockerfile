# One small image for all three services: docker run rivermouth ingest|fanout|persister|migrate.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends libzstd-dev zlib1g-dev libssl-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release -p rivermouth \
 && install -s target/release/rivermouth /usr/local/bin/rivermouth

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin rivermouth
COPY --from=build /usr/local/bin/rivermouth /usr/local/bin/rivermouth
USER 10001:10001
EXPOSE 8080 9090
# The metrics port of the service itself; bash is there, curl is not needed.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
  CMD ["/usr/local/bin/rivermouth", "probe"]
ENTRYPOINT ["/usr/local/bin/rivermouth"]
CMD ["--help"]
