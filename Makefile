# The two commands of a new machine: `make run` and `make test`. Both install what they need.
.PHONY: help run build test torture planted bench bench-smoke instructions check fmt image

ARGS ?=

help:
	@echo 'make run     build, then run everything in one process (ARGS="--realtime-port 8090" …)'
	@echo 'make test    every test, on a real Kafka and a real PostgreSQL that it starts and stops'
	@echo 'make torture real processes under faults for ten minutes, and a judge (ARGS="--duration 1h"; docs/TORTURE.md)'
	@echo 'make planted shows that the judge finds every mistake that can be planted'
	@echo 'make instructions  counts what the hot pure parts cost, against micro/instructions.txt (ARGS=--write: makes that the figures)'
	@echo 'make bench   the benchmark, more than an hour (ARGS="--only idle,rooms-200x5-10"; bench/RESULTS.md)'
	@echo 'make bench-smoke  the same, small and short: that it works and nothing is lost'
	@echo 'make check   the quick loop: format, lints, unit tests; no servers'
	@echo 'make image   the container image of docker-compose.yml'

run: build
	@exec target/debug/rivermouth dev $(ARGS)

build:
	@scripts/need.sh run
	@test -x target/debug/rivermouth || echo 'building; the first time takes some minutes'
	@cargo build --locked -p rivermouth

test:
	@scripts/need.sh test
	@scripts/test.sh $(ARGS)

torture:
	@scripts/need.sh test
	@cargo build --locked -p rivermouth -p torture
	@ulimit -n $$(ulimit -Hn); target/debug/rivermouth-torture run --brokers 3 --page target/torture.md $(or $(ARGS),--duration 10m)

planted:
	@scripts/need.sh test
	@cargo build --locked -p rivermouth --features planted --bin rivermouth-planted
	@ulimit -n $$(ulimit -Hn); cargo test --locked -p torture --features planted --test planted $(ARGS) -- --test-threads 2

bench:
	@scripts/need.sh test
	@cargo build --locked --release -p rivermouth -p bench
	@target/release/rivermouth bench run $(ARGS)

bench-smoke:
	@scripts/need.sh test
	@cargo build --locked -p rivermouth -p bench
	@target/debug/rivermouth bench run --binary target/debug/rivermouth --results target/bench/smoke.json \
	  --divide 50 --time 0.7 --warm-up 0.3 --repeats 1 $(ARGS)

instructions:
	@scripts/need.sh instructions
	@scripts/instructions.sh $(ARGS)

check:
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@cargo test --locked --workspace --lib --bins

fmt:
	@cargo fmt --all

image:
	@docker build -t rivermouth .
