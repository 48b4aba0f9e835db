"""Measurements side by side, one command each: ``python -m benchmarks.apply`` and so on.

Each prints a table of what it compared in one run on one machine; times depend on the machine, ratios hardly
do. `docs/performance.md` has figures. Nothing here is asserted: a busy machine must not fail a test.
"""
