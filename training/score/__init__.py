"""Score every face of a collection of photos, however large: `inputs` lists the photos, `rows`
scores one, `workers` and `ray` share them out, `parts` stores the rows."""
