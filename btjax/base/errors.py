"""The errors that a user can cause."""


class InputError(Exception):
    """A mistake in what the user gave: a flag, a file, a folder.

    The message is one line that names the file or flag, what was found and what was expected. An experiment prints
    it and exits with status 2; no traceback, since nothing is wrong with the program.
    """
