"""Conducting a run: who owns the cluster, what the processes of a run share, what a person sees meanwhile."""
