"""Any number of channels, in any order and with any names; which of several tracks is heard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.sounds import caf, chord, encoded, packed16, two_tracks, wav
from pave.errors import MediaError
from pave.media import Sound, probe, read_sound

LEFT, RIGHT, NUMBERED, UNKNOWN = 1, 2, 1 << 16, 0xFFFFFFFF  # Core Audio's labels

LABELS = [
    [LEFT, RIGHT],
    [RIGHT, LEFT],
    [RIGHT, LEFT, 4, 3, 6, 5, 34, 33],
    [NUMBERED + i for i in range(8)],
    [UNKNOWN] * 10,
    [LEFT, LEFT, LEFT],
    [*range(1, 17), NUMBERED + 3, UNKNOWN],
]


def must(path: Path, rate: int | None = None, *, mono: bool = True) -> Sound:
    """There is sound."""
    sound = read_sound(path, rate, mono=mono)
    assert sound is not None
    return sound


def check(path: Path, channels: int, *, rate: int = 16000, within: float = 2e-4) -> None:
    """Each channel has its own level, and mono is their mean, at the file's rate and at another."""
    wave = chord(channels, rate=rate)
    apart = must(path, mono=False).samples.numpy()
    assert apart.shape[0] == channels
    assert np.abs(apart[:, : wave.shape[1]] - wave[:, : apart.shape[1]]).max() < within
    mean = must(path).samples.numpy()
    assert np.abs(mean[: wave.shape[1]] - wave.mean(0)[: len(mean)]).max() < within
    half = must(path, rate // 2).samples.numpy()[1000:-1000]
    # Amplitudes 0.4 i / n have the mean 0.2 (n + 1) / n.
    assert np.sqrt(2 * np.mean(half**2)) == pytest.approx(0.2 * (channels + 1) / channels, rel=0.01)
    info = probe(path).sound
    assert info is not None and (info.rate, info.channels) == (rate, channels)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 8, 9, 10, 12, 16, 17, 24, 32, 64])
def test_unnamed_channels(tmp_path: Path, channels: int) -> None:
    """A WAV without a mask of speakers."""
    check(wav(tmp_path / "a.wav", packed16(chord(channels)), 16000, channels), channels)


@pytest.mark.parametrize(
    ("channels", "mask"), [(8, 0x63F), (8, 0xFF), (3, 0x7000), (18, 0x3FFFF), (8, 0x3), (16, 0)]
)
def test_masks_of_speakers(tmp_path: Path, channels: int, mask: int) -> None:
    """Usual ones, odd ones, and those of fewer speakers than channels."""
    check(wav(tmp_path / "a.wav", packed16(chord(channels)), 16000, channels, mask), channels)


@pytest.mark.parametrize(
    ("name", "codec", "layout", "channels"),
    [
        ("a.flac", "flac", "7.1", 8),
        ("a.mkv", "flac", "7.1(wide)", 8),
        ("a.wav", "pcm_s16le", "5.1.4", 10),
        ("a.mkv", "pcm_f32le", "7.1.4", 12),
        ("a.wv", "wavpack", "7.1.4", 12),
        ("a.wav", "pcm_s24le", "22.2", 24),
        ("a.nut", "pcm_s16le_planar", "hexadecagonal", 16),
        ("a.mov", "pcm_s16le", "12 channels", 12),
        ("a.caf", "pcm_s16le", "ambisonic 3", 16),
        ("a.tta", "tta", "7.1", 8),
        ("a.aiff", "pcm_s16be", "5.1.4", 10),
    ],
)
def test_codecs_with_many_channels(
    tmp_path: Path, name: str, codec: str, layout: str, channels: int
) -> None:
    """Planar and packed, integers and floats."""
    file = encoded(tmp_path / name, codec, layout, chord(channels))
    check(file, channels, within=5e-3 if codec in {"wavpack", "tta"} else 2e-4)  # of 8 bits


def test_labelled_channels(tmp_path: Path) -> None:
    """In an order of their own; in a process of its own, because it was memory that broke."""
    files = {}
    for index, labels in enumerate(LABELS):
        file = caf(tmp_path / f"{index}.caf", labels, chord(len(labels)))
        files[str(file)] = len(labels)
    code = (
        "import json, sys; from pathlib import Path\n"
        "from media.test_sound_channels import check\n"
        "for file, count in json.loads(sys.argv[1]).items():\n"
        "    for _ in range(3): check(Path(file), count)"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(files)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tests}:{tests.parent / 'src'}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-500:]


@pytest.mark.parametrize("channels", [65, 200])
def test_more_channels_than_can_be_read(tmp_path: Path, channels: int) -> None:
    """One line with the number."""
    file = wav(tmp_path / "a.wav", packed16(chord(channels, 50)), 16000, channels)
    with pytest.raises(MediaError, match=f"sound of {channels} channels, but at most 64"):
        read_sound(file)


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
@pytest.mark.parametrize(("default", "heard"), [(0, 0), (1, 1), (2, 2), (None, 0)])
def test_the_default_track_is_heard(
    tmp_path: Path, suffix: str, default: int | None, heard: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As a player chooses, and said in a line; the first one where none is marked."""
    levels = [0.1, 0.2, 0.4]
    file = two_tracks(tmp_path / f"film{suffix}", levels, default)
    found = must(file).samples[1000:7000].square().mean().sqrt() * 2**0.5
    assert float(found) == pytest.approx(levels[heard], rel=0.01)
    assert f"has 3 sound tracks; number {heard + 1} is used" in caplog.text
    info = probe(file).sound
    assert info is not None and (info.track, info.tracks) == (heard + 1, 3)


def test_one_track_goes_without_saying(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No line where there was no choice."""
    must(wav(tmp_path / "a.wav", packed16(chord(1)), 16000))
    assert caplog.text == ""
