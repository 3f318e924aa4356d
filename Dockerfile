# syntax=docker/dockerfile:1
# `runner` alone: docker build -t runner . && docker run --rm runner --help
FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY . .
# librdkafka and OpenSSL are built from source; the image has the compilers, make and perl for it.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/runner /runner

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/runner --create-home runner
COPY --from=build /runner /usr/local/bin/runner
USER 10001:10001
# State (`.runner/`) is kept under the working directory, so it must outlive the container.
WORKDIR /var/lib/runner
VOLUME /var/lib/runner
# SIGTERM drains, commits and ends with 0.
ENTRYPOINT ["runner"]
CMD ["--help"]
