"""Everything that makes a detector. Start with `python -m training --help`.

`data/` finds, aligns and splits photos, `fit/` trains, `measure/` evaluates and calibrates, `ship/`
exports and pushes, `score/` scores collections, `lab/` holds experiments and their tables.
`config.py` holds the recipes and the settings of `prepare` and `train`; `run.py` reads runs.
"""
