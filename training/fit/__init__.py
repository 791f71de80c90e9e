"""From a prepared folder to a network."""
