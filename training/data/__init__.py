"""From photos, wherever they lie, to a prepared folder."""
