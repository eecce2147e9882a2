"""Typed errors: every way a user's input can be wrong has a class here, and every message says what, where and what to do.

The command line turns a `PaveError` into one line on stderr and exit code 2; anything else is our bug and exits with 1.
"""

from __future__ import annotations


class PaveError(Exception):
    """Root of all errors that a user can cause and mend. Catch this to catch them all."""


class ConfigError(PaveError):
    """A setting is missing, misspelt, of the wrong type, or contradicts another one."""


class MediaError(PaveError):
    """A media file is missing, broken, truncated, or holds no stream of the kind asked for."""


class ChannelError(PaveError):
    """A side channel is unknown, its encoder is unknown or misconfigured, or its tokens have the wrong shape."""


class RecordError(PaveError):
    """A line of a records file cannot be read as a record."""


class BaseError(PaveError):
    """A base model cannot be loaded or belongs to no supported family."""


class PatchError(PaveError):
    """A patch folder is incomplete, damaged, unsafe, or was made for another base."""


class TrainError(PaveError):
    """A training run cannot start, resume or finish with the given settings."""
