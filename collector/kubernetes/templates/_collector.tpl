{{/* The chart's own part of the Collector's configuration: (list root "gateway"). */}}
{{- define "otel-budget.release" -}}
{{- $values := (index . 0).Values -}}
{{- if and (eq (index . 1) "gateway") (not $values.traces.endpoint) -}}
processors:
  filter/no_traces:
    error_mode: propagate
    trace_conditions: [IsString(span.name)]
service:
  pipelines:
    traces:
      processors: [memory_limiter, filter/no_traces]
{{ end -}}
exporters:
{{- if eq (index . 1) "gateway" }}
  otlp_grpc/jaeger:
    tls:
      insecure: {{ $values.traces.insecure }}
    {{- include "otel-budget.headers" (list "TRACES" $values.traces.headers) | nindent 4 }}
  otlp_http/prometheus:
    endpoint: ${env:PROMETHEUS_URL}{{ $values.metrics.path }}
    {{- include "otel-budget.headers" (list "METRICS" $values.metrics.headers) | nindent 4 }}
  {{- if $values.logs.url }}
  otlp_http/logs:
    {{- include "otel-budget.headers" (list "LOGS" $values.logs.headers) | nindent 4 }}
  {{- end }}
{{- else }}
  {{- $headers := dict }}
  {{- if $values.auth.existingSecret }}{{ $headers = dict "authorization" "Bearer ${env:OTELCOL_TOKEN}" }}{{ end }}
  load_balancing:
    protocol:
      otlp:
        headers: {{ toJson $headers }}
  otlp_grpc/gateway:
    headers: {{ toJson $headers }}
{{- end }}
{{- end }}

{{- define "otel-budget.headers" -}}
{{- $signal := index . 0 }}
{{- $headers := dict }}
{{- range $index, $header := index . 1 }}
{{- $_ := set $headers (lower $header.name) (printf "${env:%s_HEADER_%d}" $signal $index) }}
{{- end -}}
headers: {{ toJson $headers }}
{{- end }}

{{/* The files that a Collector reads, in their order: (list root "gateway"). */}}
{{- define "otel-budget.configs" -}}
{{- $values := (index . 0).Values }}
{{- $files := list "config" }}
{{- if eq (index . 1) "gateway" }}
{{- $files = concat $files $values.gateway.overlays }}
{{- if $values.logs.url }}{{ $files = append $files "logs-otlp" }}{{ end }}
{{- else }}
{{- $files = append $files "gateway" }}
{{- end }}
{{- if $values.auth.existingSecret }}{{ $files = append $files "auth" }}{{ end }}
{{- toJson (concat $files (list "release" "own")) }}
{{- end }}

{{/* The pod of a Collector: (list root "gateway"). */}}
{{- define "otel-budget.pod" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 }}
{{- $name := include "otel-budget.name" $root }}
{{- $values := $root.Values }}
{{- $own := index $values $component -}}
metadata:
  labels:
    {{- include "otel-budget.selector" . | nindent 4 }}
  annotations:
    # A changed configuration is a rollout.
    checksum/config: {{ include "otel-budget.configuration" . | sha256sum }}
    {{- with $own.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # Longer than preStop and what the Collector takes to write its queue.
  terminationGracePeriodSeconds: 60
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector: {{ toJson . }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations: {{ toJson . }}
  {{- end }}
  {{- with $own.affinity }}
  affinity: {{ toJson . }}
  {{- end }}
  {{- if eq $component "gateway" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "otel-budget.selector" . | nindent 10 }}
  {{- end }}
  initContainers:
    # The Collector's image has no shell for start.sh, and none to wait with.
    - name: shell
      image: {{ $values.images.shell }}
      command: [sh, -c, cp /bin/busybox /shell/ && /shell/busybox --install -s /shell]
      securityContext: &restricted
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      resources:
        requests: {cpu: 10m, memory: 16Mi}
        limits: {memory: 16Mi}
      volumeMounts:
        - {name: shell, mountPath: /shell}
  containers:
    - name: otelcol
      image: {{ $values.images.collector }}
      command: [/shell/sh, /etc/otelcol/start.sh, /otelcol-contrib]
      args:
        {{- range include "otel-budget.configs" . | fromJsonArray }}
        - --config=/etc/otelcol/{{ . }}.yaml
        {{- end }}
      env:
        {{- include "otel-budget.environment" . | nindent 8 }}
      ports:
        - name: otlp-grpc
          containerPort: 4317
          {{- if and (eq $component "agent") $own.hostPort }}
          hostPort: 4317
          {{- end }}
        - name: otlp-http
          containerPort: 4318
          {{- if and (eq $component "agent") $own.hostPort }}
          hostPort: 4318
          {{- end }}
        - {name: metrics, containerPort: 8888}
        - {name: health, containerPort: 13133}
      # It listens after start.sh has tried the queue, which may take five minutes.
      startupProbe:
        httpGet: &health {path: /, port: health}
        periodSeconds: 5
        failureThreshold: 72
      livenessProbe:
        httpGet: *health
        periodSeconds: 10
        failureThreshold: 6
      readinessProbe:
        httpGet: *health
        periodSeconds: 5
      lifecycle:
        preStop:
          # Until no new connection comes here any more.
          exec:
            command: [/shell/sleep, "5"]
      securityContext: *restricted
      resources:
        requests:
          cpu: {{ $own.cpu | quote }}
          memory: {{ $own.memoryMiB }}Mi
        limits:
          memory: {{ div (mul $own.memoryMiB 5) 4 }}Mi
      volumeMounts:
        - {name: config, mountPath: /etc/otelcol, readOnly: true}
        - {name: data, mountPath: /var/lib/otelcol}
        - {name: shell, mountPath: /shell, readOnly: true}
        {{- if $values.certificates.existingSecret }}
        - {name: certificates, mountPath: /etc/otelcol-certificates, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $name }}-{{ $component }}
    - name: shell
      emptyDir: {sizeLimit: 16Mi}
    {{- if eq $component "agent" }}
    - name: data
      emptyDir:
        # Two queues, each up to twice its size on disk.
        sizeLimit: {{ mul $own.queue.mebibytes 5 }}Mi
    {{- end }}
    {{- with $values.certificates.existingSecret }}
    - name: certificates
      secret:
        secretName: {{ . }}
    {{- end }}
{{- end }}

{{- define "otel-budget.environment" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 }}
{{- $values := $root.Values }}
{{- $own := index $values $component }}
{{- $name := include "otel-budget.name" $root -}}
- {name: PATH, value: /shell}
- {name: GOMEMLIMIT, value: {{ div (mul $own.memoryMiB 4) 5 }}MiB}
- {name: OTELCOL_MEMORY_MIB, value: {{ $own.memoryMiB | quote }}}
- {name: OTELCOL_OTLP_GRPC, value: "0.0.0.0:4317"}
- {name: OTELCOL_OTLP_HTTP, value: "0.0.0.0:4318"}
- {name: OTELCOL_HEALTH, value: "0.0.0.0:13133"}
- {name: OTELCOL_METRICS_HOST, value: "0.0.0.0"}
- {name: OTELCOL_METRICS_PORT, value: "8888"}
- {name: OTELCOL_QUEUE_DIR, value: /var/lib/otelcol/queue}
- {name: OTELCOL_QUEUE_BYTES, value: {{ mul $own.queue.mebibytes 1048576 | quote }}}
{{- if eq $component "gateway" }}
- {name: OTELCOL_QUEUE_FSYNC, value: {{ $own.queue.fsync | quote }}}
- {name: OTELCOL_SAMPLING_PERCENT, value: {{ $own.samplingPercent | quote }}}
- {name: OTELCOL_AUDIT_FILE, value: /var/lib/otelcol/audit/threshold-hits.jsonl}
{{- with $values.traces.endpoint }}
- {name: JAEGER_OTLP, value: {{ quote . }}}
{{- end }}
- {name: PROMETHEUS_URL, value: {{ trimSuffix "/" $values.metrics.url | quote }}}
{{- with $values.logs.url }}
- {name: LOGS_OTLP_URL, value: {{ quote . }}}
{{- end }}
{{- range $signal := list "traces" "metrics" "logs" }}
{{- range $index, $header := (index $values $signal).headers }}
{{- include "otel-budget.secret" (list (printf "%s_HEADER_%d" (upper $signal) $index) $header.secret $header.key) }}
{{- end }}
{{- end }}
{{- if has "redaction" $own.overlays }}
{{- include "otel-budget.secret" (list "OTELCOL_REDACTION_SALT" $values.redaction.existingSecret $values.redaction.key) }}
{{- end }}
{{- else }}
{{- $gateways := list }}
{{- range until (int $values.gateway.replicas) }}
{{- $gateways = append $gateways (printf "%s-gateway-%d.%s-gateway-headless.%s.svc:4317" $name . $name $root.Release.Namespace) }}
{{- end }}
- {name: OTELCOL_GATEWAYS, value: {{ toJson $gateways | quote }}}
- {name: OTELCOL_GATEWAY, value: "{{ $name }}-gateway.{{ $root.Release.Namespace }}.svc:4317"}
{{- end }}
{{- with $values.auth.existingSecret }}
{{- include "otel-budget.secret" (list "OTELCOL_TOKEN" . $values.auth.key) }}
{{- end }}
{{- end }}

{{- define "otel-budget.secret" }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef: {name: {{ index . 1 | quote }}, key: {{ index . 2 | quote }}}
{{- end }}

{{/* The ConfigMap's data: (list root "gateway"). */}}
{{- define "otel-budget.configuration" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 -}}
start.sh: |
  {{- $root.Files.Get "files/otelcol/start.sh" | nindent 2 }}
{{- range include "otel-budget.configs" . | fromJsonArray }}
{{ . }}.yaml: |
{{- if eq . "release" }}
  {{- include "otel-budget.release" (list $root $component) | nindent 2 }}
{{- else if eq . "own" }}
  {{- toYaml (index $root.Values $component).config | nindent 2 }}
{{- else }}
  {{- $root.Files.Get (printf "files/otelcol/%s.yaml" .) | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
