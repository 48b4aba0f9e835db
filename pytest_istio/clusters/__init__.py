"""Where Kubernetes comes from: one file a provider."""
