"""A pytest plugin and conformance suite for Istio."""
