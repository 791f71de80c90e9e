"""Everything that makes a detector. Start with `python -m training --help`.

`data/` finds, aligns and splits photos, `fit/` trains, `measure/` evaluates and calibrates, `ship/`
exports and pushes, `score/` scores collections, `lab/` holds experiments and their tables.
`config.py` has the settings of every verb and the recipes, `run.py` what a finished run holds.
"""
