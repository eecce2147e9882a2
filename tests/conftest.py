"""Settings for all tests: no example of a property test has a time limit, because other work may share the machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
