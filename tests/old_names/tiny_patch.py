"""`tiny_patch` at the place where the scripts of `cases/models` look for it."""

from helpers.tiny_patch import *  # noqa: F403
