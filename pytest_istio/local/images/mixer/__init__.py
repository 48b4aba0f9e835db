"""Mixer: takes reports of requests and serves them as Prometheus' series, for policy and for telemetry."""
