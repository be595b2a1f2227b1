"""The exception for mistakes that a user can correct."""


class InputError(ValueError):
    """A config, option, annotation, image or checkpoint that cannot be used.

    The message names the culprit and what to do about it; the tools print it without a traceback.
    """
