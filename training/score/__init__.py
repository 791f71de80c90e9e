"""Score every face of a collection of photos, however large."""
