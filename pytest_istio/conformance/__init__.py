"""What makes a test a conformance check: identity, selection, prerequisites, outcome."""
