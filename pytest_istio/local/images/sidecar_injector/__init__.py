"""The sidecar injector: the webhook that puts Istio's proxy into the pods of labelled namespaces."""
