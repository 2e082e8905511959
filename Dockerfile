# Builds one image of the service and the demo application. `docker compose up` uses it.
FROM rust:1.95-bookworm AS build
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
RUN cargo xtask build

FROM debian:bookworm-slim
# HTTPS requests need the certificate authorities, and the health check of docker-compose.yml needs curl.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/*
RUN useradd --system --home /var/lib/anomalyzer --create-home anomalyzer
COPY --from=build /src/target/release/anomalyzer /usr/local/bin/anomalyzer
COPY --from=build /src/target/plugins /usr/local/bin/plugins
USER anomalyzer
WORKDIR /var/lib/anomalyzer
EXPOSE 9000 5000
ENTRYPOINT ["anomalyzer"]
CMD ["serve"]
