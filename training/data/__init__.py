"""Turn photos into a prepared folder: `prepare` is the verb, `sources.toml` describes the known
sets, `rows` reads a prepared folder."""
