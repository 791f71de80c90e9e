"""Score every face of a collection of photos, however large: `inputs` lists the photos, `rows`
scores one photo, `workers` and `ray` distribute the photos, `parts` stores the rows."""
