"""The conformance report: model, writers, terminal summary."""
