# CPU image of visage: `docker build -t visage .`, then
# `docker run -p 8010:8010/tcp -p 8010:8010/udp -e VISAGE_PUBLIC_IP=203.0.113.7 -e VISAGE_TOKEN=... visage`.
# docs/deployment.md explains ports, addresses and TLS. `tests/container` runs these steps without a container runtime.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make cmake nasm && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Without `bench`: a server needs no WebRTC clients.
RUN cargo build --release --locked --no-default-features --bin visage

FROM debian:bookworm-slim
RUN useradd --uid 10001 --shell /usr/sbin/nologin --home-dir /data --create-home visage
COPY --from=build /src/target/release/visage /usr/local/bin/visage
USER visage
ENV VISAGE_HOST=0.0.0.0 VISAGE_DATA_DIR=/data
VOLUME /data
EXPOSE 8010/tcp 8010/udp
# Asks the running server for its state; reads VISAGE_TOKEN as the server does.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["sh", "-c", "exec visage top --url http://127.0.0.1:${VISAGE_PORT:-8010} --json"]
# SIGTERM ends all sessions in order.
STOPSIGNAL SIGTERM
ENTRYPOINT ["visage"]
CMD ["serve"]
