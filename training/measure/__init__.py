"""What a run or a model is worth.

`scores` and `answers` ask the network, `figures` and `tiers` compute from what it answers (with
`metrics`, `rates`, `evidence`), `report` and `tier_tables` write tables of that; `evaluate` is the
verb. `calibrate` fits probabilities and thresholds for the export. `audit/` looks for shortcuts.
"""
