"""The embedded Kubernetes that needs no containers; only `pytest_istio.clusters.local` starts it."""
