#!/bin/sh
# Starts the Collector (`start.sh otelcol --config ...`) even if its queue on disk is damaged, which
# would end it at every start: `recreate` of file_storage catches only one kind of damage. If there
# is a queue, the Collector is first started on it where nobody can reach it and it can send
# nothing; if that ends in an error of the queue's database, the queue is moved aside.
set -u
queue=${OTELCOL_QUEUE_DIR:-.stack/queue}

# Whether the Collector opens the queue; what it wrote is in $log.
opens() {
    OTELCOL_OTLP_GRPC=127.0.0.1:0 OTELCOL_OTLP_HTTP=127.0.0.1:0 OTELCOL_HEALTH=127.0.0.1:0 \
        OTELCOL_SCRAPE=127.0.0.1:0 OTELCOL_METRICS_HOST=127.0.0.1 OTELCOL_METRICS_PORT=0 \
        PROMETHEUS_URL=http://127.0.0.1:1 JAEGER_OTLP=127.0.0.1:1 LOGS_OTLP_URL=http://127.0.0.1:1 \
        OTELCOL_GATEWAY=127.0.0.1:1 OTELCOL_GATEWAYS='["127.0.0.1:1"]' \
        "$@" >"$log" 2>&1 &
    trial=$!
    trap 'kill -9 $trial; rm -f "$log"; exit 143' HUP INT TERM
    tries=3000 # five minutes, for a large queue on a slow disk
    while kill -0 $trial 2>/dev/null && [ $((tries -= 1)) -gt 0 ]; do
        if grep -q "Everything is ready" "$log"; then
            kill $trial
            wait $trial
            trap - HUP INT TERM
            return 0
        fi
        sleep 0.1
    done
    kill -9 $trial 2>/dev/null
    trap - HUP INT TERM
    return 1
}

if [ -n "$(ls -A "$queue" 2>/dev/null)" ]; then
    log=$queue.log
    damage='invalid database|checksum error|version mismatch|file size too small|go\.etcd\.io/bbolt'
    if ! opens "$@" && grep -Eq "$damage" "$log"; then
        aside=$queue.damaged-$(date -u +%Y%m%dT%H%M%SZ)
        mv "$queue" "$aside" && echo "The Collector's queue was damaged and has been moved to $aside:" \
            "what waited there was not sent, and counters are right again at the next export." >&2
    fi
    rm -f "$log"
fi
exec "$@"
