"""Galley's validator: the webhook that keeps malformed Istio configuration out of the cluster."""
