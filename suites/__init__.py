"""The conformance checks, a file an area."""
