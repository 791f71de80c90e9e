"""Measure what a run or a model is worth.

`scores` and `answers` query the network. `figures` and `tiers` compute from its answers (with
`metrics`, `rates`, `evidence`). `report` and `tier_tables` write the tables; `evaluate` is the
verb. `calibrate` fits probabilities and thresholds for the export. `audit/` looks for shortcuts.
"""
