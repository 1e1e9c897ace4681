// The definitions of the Prometheus operator's kinds, for tests. Nothing is built: `go mod tidy` would empty this file;
// after a change, `go mod download github.com/prometheus-operator/prometheus-operator`.
module speechless.dev/cluster/monitoring

go 1.24.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
