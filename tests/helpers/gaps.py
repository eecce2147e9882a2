"""Clips whose events fall between the four frames that a base sees: fast events and moves."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from pave.media import Uniform
from pave.media.sampling import choose

SEEN = Uniform(4)
"""Frames that a base sees."""
BETWEEN = Uniform(20)
"""Frames among which some are of an event."""
RATES = st.one_of(st.sampled_from([10.0, 12.5, 24.0, 25.0]), st.floats(10, 25))
LENGTHS = st.one_of(st.sampled_from([2.0, 4.0, 10.0]), st.floats(2, 20))
NUMBERS = ("zero", "one", "two", "three", "four")


def seen_times(duration: float, fps: float) -> np.ndarray:
    """Times of the frames that a base sees."""
    times = np.arange(max(1, round(duration * fps))) / fps  # frame i starts at i / fps
    return times[choose(times, SEEN)]
