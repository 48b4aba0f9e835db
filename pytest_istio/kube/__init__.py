"""Talking to Kubernetes: client, manifests, migration to served API versions, apply, wait."""
