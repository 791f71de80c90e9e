"""From photos, wherever they lie, to a prepared folder: `prepare` is the verb, `sources.toml` what
is known of each set, `rows` what a prepared folder holds."""
