"""The one exception that ends a command in a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can put right: the text says what was found, where, and what to do."""
