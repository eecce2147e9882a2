"""`toy` at the place where the scripts of `cases/models` look for it."""

from helpers.toy import *  # noqa: F403
