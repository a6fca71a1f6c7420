// The modules that Kubernetes' and prometheus-operator's own schemas are taken from.
module otel-budget.invalid/schemas

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/kubernetes v1.34.2
)
