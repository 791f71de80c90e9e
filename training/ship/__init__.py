"""From a run to a model folder, and to the Hub."""
