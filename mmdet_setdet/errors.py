"""The exception for mistakes that a user can correct."""


class InputError(ValueError):
    """A config, option, annotation, image or checkpoint that cannot be used.

    The message names the culprit and what to do about it; the tools print it without a traceback.
    """


def one_line(text: object) -> str:
    """Return a text, such as the message of another library, without its line breaks."""
    return ' '.join(str(text).split())


def short(value: object, longest: int = 60) -> str:
    """Return a value for a message, cut short; text that cannot be read otherwise in quotes."""
    if isinstance(value, int) and abs(value) >= 10**longest:
        return 'a number of very many digits'  # Python refuses to write it
    text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return text if len(text) <= longest else f'{text[:longest]}...'
