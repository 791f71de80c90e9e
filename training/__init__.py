"""Everything that makes a detector: data, training, evaluation, export. Start with `python -m
training --help`."""
