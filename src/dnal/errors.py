"""The one exception that means: what was asked for cannot be done, and here is what can."""


class UserError(ValueError):
    """A mistake in what the user asked for, told in one sentence with the remedy.

    The command line prints the sentence and exits with status 2; nothing else in the package catches it.
    """
