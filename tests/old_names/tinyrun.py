"""`tinyrun` at the place where the scripts of `cases/models` look for it."""

from helpers.tinyrun import *  # noqa: F403
