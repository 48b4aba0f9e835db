"""The names of the states in a run's folder."""

from __future__ import annotations

__all__ = ["BOOKINFO", "CLUSTER", "FACTS", "FAILED", "GATEWAY", "MESH", "PHASES", "SELECTION"]

CLUSTER = "cluster"
"""The cluster that the controller has started."""
MESH = "mesh"
"""What a process needs to use the installed mesh."""
BOOKINFO = "bookinfo"
"""What a process needs to use the sample application."""
FACTS = "istio"
"""What header and report tell of the installation."""
GATEWAY = "gateway"
"""Where the ingress gateway was reached, and in which way."""
FAILED = "installation-failed"
"""Why Istio could not be applied."""
PHASES = "phases-"
"""Prefix, then the process's name: its phases and their seconds."""
SELECTION = "selection-"
"""Prefix, then the worker's name: what it has collected."""
