#!/bin/sh
# Thanos as the store behind the Collector's distributed-store.yaml: thanos.sh receive|query|rule
#
# Three or more receivers that keep each sample on three of them, a querier over them for whoever
# asks, and a ruler for the shipped rules, each started by this script and variables of its own.
# Everyone who reaches one needs a certificate of THANOS_CERTIFICATES (cortex/certificates.sh makes
# them): without, any web page in the browser of somebody nearby could write into it.
#
#   THANOS_GRPC, THANOS_HTTP   where it listens, as host:port
#   THANOS_WRITE, THANOS_CAPNP where a receiver listens for the Collector, and what it must have too
#   THANOS_RECEIVERS           for receivers: gRPC addresses of all of them, with commas between
#   THANOS_ENDPOINTS           for the querier: gRPC addresses of receivers and rulers, likewise
#   THANOS_QUERY               for a ruler: the querier's HTTP address
#   THANOS_REPLICA             the name of a receiver or ruler
#   THANOS_RULES               for a ruler: rule files, such as prometheus/rules/*.yml
#   ALERTMANAGER_ADDRESS, ALERTMANAGER_USER, ALERTMANAGER_PASSWORD_FILE
#   THANOS_DATA                a folder of its own
set -eu
certificates=${THANOS_CERTIFICATES:-.cortex/certificates}
data=${THANOS_DATA:-.thanos}
mkdir -p "$data"
umask 077
cat > "$data/web.yml" << END
tls_server_config:
  cert_file: $certificates/server.crt
  key_file: $certificates/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: $certificates/ca.crt
END
part=${1:?usage: thanos.sh receive|query|rule}
shift
set -- "$@" --log.level=warn \
  --http-address="${THANOS_HTTP:-127.0.0.1:10902}" --http.config="$data/web.yml" \
  --grpc-address="${THANOS_GRPC:-127.0.0.1:10901}" \
  --grpc-server-tls-cert="$certificates/server.crt" \
  --grpc-server-tls-key="$certificates/server.key" \
  --grpc-server-tls-client-ca="$certificates/ca.crt"

case $part in
  receive)
    # Its label and the tenant's go again in the querier, so series are as in Prometheus.
    ring=$(echo "$THANOS_RECEIVERS" | sed 's/[^,]*/{"address": "&"}/g')
    exec "${THANOS_PROGRAM:-thanos}" receive "$@" \
      --label="replica=\"$THANOS_REPLICA\"" \
      --tsdb.path="$data/tsdb" \
      --tsdb.retention="${THANOS_RETENTION:-63d}" \
      --tsdb.out-of-order.time-window=12h \
      --remote-write.address="${THANOS_WRITE:-127.0.0.1:19291}" \
      --remote-write.server-tls-cert="$certificates/server.crt" \
      --remote-write.server-tls-key="$certificates/server.key" \
      --remote-write.server-tls-client-ca="$certificates/ca.crt" \
      --remote-write.client-tls-secure \
      --remote-write.client-tls-cert="$certificates/server.crt" \
      --remote-write.client-tls-key="$certificates/server.key" \
      --remote-write.client-tls-ca="$certificates/ca.crt" \
      --receive.local-endpoint="$THANOS_GRPC" \
      --receive.hashrings="[{\"endpoints\": [$ring]}]" \
      --receive.hashrings-algorithm=ketama \
      --receive.replication-factor=3 \
      --receive-forward-timeout=20s \
      --receive.capnproto-address="${THANOS_CAPNP:-127.0.0.1:19391}" \
      --receive.otlp-promote-resource-attributes=deployment.environment.name
    ;;
  query)
    echo "$THANOS_ENDPOINTS" | tr , '\n' | sed 's/.*/- address: "&"/; 1i endpoints:' > "$data/endpoints.yml"
    exec "${THANOS_PROGRAM:-thanos}" query "$@" \
      --endpoint.sd-config-file="$data/endpoints.yml" \
      --grpc-client-tls-secure \
      --grpc-client-tls-cert="$certificates/server.crt" \
      --grpc-client-tls-key="$certificates/server.key" \
      --grpc-client-tls-ca="$certificates/ca.crt" \
      --query.replica-label=replica --query.replica-label=tenant_id \
      --deduplication.func=chain \
      --query.promql-engine=prometheus
    ;;
  rule)
    cat > "$data/query.yml" << END
- static_configs: ["$THANOS_QUERY"]
  scheme: https
  http_config:
    tls_config:
      ca_file: $certificates/ca.crt
      cert_file: $certificates/client.crt
      key_file: $certificates/client.key
END
    cat > "$data/alertmanagers.yml" << END
alertmanagers:
  - static_configs: ["${ALERTMANAGER_ADDRESS:-127.0.0.1:9093}"]
    api_version: v2
    http_config:
      basic_auth:
        username: ${ALERTMANAGER_USER:-}
        password_file: ${ALERTMANAGER_PASSWORD_FILE:-}
END
    exec "${THANOS_PROGRAM:-thanos}" rule "$@" \
      --label="replica=\"$THANOS_REPLICA\"" --alert.label-drop=replica \
      --data-dir="$data/ruler" \
      --rule-file="$THANOS_RULES" \
      --eval-interval="${THANOS_EVALUATION:-1m}" \
      --query.config-file="$data/query.yml" \
      --alertmanagers.config-file="$data/alertmanagers.yml"
    ;;
  *)
    echo "usage: thanos.sh receive|query|rule" >&2
    exit 2
    ;;
esac
