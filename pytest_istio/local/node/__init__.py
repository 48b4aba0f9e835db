"""The node of the embedded Kubernetes: a small kubelet that runs containers as processes of this machine."""

from __future__ import annotations

from pytest_istio.local.node.node import Node

__all__ = ["Node"]
