"""What one LLM call costs with the packages that would be used instead: `make bench-peers`.

Every package is timed in a process of its own, by `benchmarks.measure`, in turn with otel-budget
and with the telemetry that a person would write by hand (`benchmarks.adapter`). One call means one
LLM call that a budget allows: the guard is asked, and told what was spent.
"""
