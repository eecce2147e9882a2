"""`write_video`: the same bytes for the same input, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.clips import numbered, numbers, tone
from pave.errors import MediaError
from pave.media import Rate, read_frames, write_video


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Whatever the file is called."""
    one = write_video(tmp_path / "one.mp4", numbered(30), 25, tone(1.2))
    two = write_video(tmp_path / "deep" / "two.mp4", iter(numbered(30)), 25.0, tone(1.2))
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "one.mp4"]


def test_fractional_rates(tmp_path: Path) -> None:
    """29.97 is kept."""
    clip = write_video(tmp_path / "ntsc.mp4", numbered(10), 30000 / 1001)
    assert read_frames(clip, Rate(1000)).times[-1].item() == pytest.approx(
        9 * 1001 / 30000, abs=1e-4
    )


def test_index_in_front(tmp_path: Path) -> None:
    """`faststart` puts the index before the samples and changes no frame."""
    clip = write_video(tmp_path / "fast.mp4", numbered(10), 25, faststart=True)
    data = clip.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert numbers(read_frames(clip, Rate(25)).pixels) == list(range(10))


GOOD = np.zeros((32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "kwargs", "message"),
    [
        ([], {}, "no frames"),
        ([GOOD[:, :31]], {}, "even sides"),
        ([GOOD.astype(np.float32)], {}, "uint8"),
        ([GOOD[..., 0]], {}, "uint8 arrays"),
        ([GOOD, GOOD[:16]], {}, "one size"),
        ([GOOD], {"fps": 0}, "fps"),
        ([GOOD], {"sound": tone(0.1), "rate": 12345}, "AAC"),
        ([GOOD], {"sound": np.zeros((10, 3), np.float32)}, "sound must be"),
        ([GOOD], {"name": "film.unknown"}, "cannot be written"),
    ],
)
def test_refusals(
    tmp_path: Path, frames: list[np.ndarray], kwargs: dict[str, object], message: str
) -> None:
    """One clear error, and nothing left behind."""
    options: dict[str, object] = {"fps": 25, "name": "film.mp4"} | kwargs
    with pytest.raises(MediaError, match=message):
        write_video(tmp_path / str(options.pop("name")), frames, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
