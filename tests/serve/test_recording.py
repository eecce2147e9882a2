"""`pave view --save`: the recording, read back with rerun's own reader, against the clip."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import tiny, tinyrun
from helpers.rooms import room
from pave.cli import main
from pave.media import read_sound
from pave.model import PatchedModel

FPS = 8


def read_back(file: Path) -> dict[str, tuple[list[float], dict[str, list[Any]]]]:
    """Entity -> its seconds, and its components by name, one value a row."""
    chunks = pytest.importorskip("rerun.chunk", reason="rerun-sdk is in the extra `view`")
    found: dict[str, tuple[list[float], dict[str, list[Any]]]] = {}
    for part in chunks.RrdReader(file).stream().to_chunks():
        times, columns = found.setdefault(part.entity_path.removeprefix("/"), ([], {}))
        batch = part.to_record_batch()
        for name in batch.schema.names:
            values = batch.column(name)
            if name == "clip":
                times += (values.to_numpy(zero_copy_only=False).astype("int64") / 1e9).tolist()
            elif ":" in name:
                columns.setdefault(name, []).extend(values.to_pylist())
    return found


def in_order(entity: tuple[list[float], dict[str, list[Any]]], column: str) -> list[Any]:
    """Values by time."""
    times, columns = entity
    rows = sorted(zip(times, columns[column], strict=True), key=lambda row: row[0])
    return [value[0] for _, value in rows]


@pytest.mark.slow
def test_a_recording_holds_the_clip_on_one_timeline(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is in the extra `view`")
    from pave.serve import recording

    film = tinyrun.clip(tmp_path / "a.mp4", 1)
    other = tinyrun.clip(tmp_path / "b.mp4", 2, sound=False)
    model = PatchedModel(tiny.base())
    for channel, encoder in (("audio", "mel"), ("scene3d", "tower3d"), ("views", "tower")):
        model.new_patch(channel, encoder=encoder, name=channel, fusion={"hidden": 32})
    media = {"scene3d": str(room(tmp_path)), "views": {"videos": [str(other)], "offsets": [0.25]}}
    viewed = recording.view(model, film, ["What?"], media, frames=4)
    file = tmp_path / "a.rrd"
    recording.save(viewed, file)
    assert list(tmp_path.glob("*.rrd")) == [file]
    found = read_back(file)
    times = sorted(found["frames"][0])
    assert all((moment * FPS) == pytest.approx(round(moment * FPS), abs=1e-3) for moment in times)
    assert len(times) == 4 and times[0] == 0
    # The film itself, with all of its 8 frames.
    moments = [number / FPS for number in range(8)]
    assert sorted(found["film"][0]) == pytest.approx(moments, abs=1e-4)
    blob = next(one for one in found["film"][1]["AssetVideo:blob"] if one is not None)
    assert bytes(blob[0]) == film.read_bytes()
    # The sound, as another reader takes it.
    sound = read_sound(film, recording.RATE)
    assert sound is not None
    with wave.open(io.BytesIO(bytes(in_order(found["sound"], "AssetAudio:blob")[0]))) as heard:
        assert heard.getframerate() == recording.RATE
        samples = np.frombuffer(heard.readframes(10**6), np.int16) / 32767
    assert samples == pytest.approx(sound.samples.clamp(-1, 1).numpy(), abs=1e-4)
    assert found["sound"][0] == pytest.approx([sound.start], abs=1e-6)
    # Side tokens are the encoder's.
    tokens = model.encoder("audio").encode(str(film))
    assert sorted(found["side/audio/tokens"][0]) == pytest.approx(tokens.times.tolist(), abs=1e-6)
    lengths = in_order(found["side/audio/length"], "Scalars:scalars")
    assert lengths == pytest.approx(tokens.values.norm(dim=-1).mean(1).tolist(), rel=1e-5)
    rows = in_order(found["attention/audio"], "BarChart:values")
    assert len(rows) == 4 and len(found["residual/audio"][0]) == 4
    # The wall: pixel (u, v) lies at u / 3 and v / 2, from the second place 1 m further right.
    near, far = in_order_all(found["scene"], "Points3D:positions")
    wanted = [(u / 3, v / 2, 2.0) for v in range(4) for u in range(6) if (u, v) != (0, 0)]
    assert np.array(near) == pytest.approx(np.array(wanted), abs=1e-5)
    assert np.array(far) == pytest.approx(np.array(wanted) + [1, 0, 0], abs=1e-5)
    assert sorted(found["scene"][0]) == pytest.approx([0.0, 0.5])
    # The other camera started a quarter of a second later.
    shown = sorted(found["cameras/0"][0])
    assert all(0.25 - 1e-6 <= moment <= 1.25 for moment in shown)
    said = model.ask(film, "What?", channels=media, frames=4)
    assert in_order(found["answers/patches"], "TextLog:text") == [f"What? {said}"]
    off = model.ask(film, "What?", frames=4, patches={})
    assert in_order(found["answers/base"], "TextLog:text") == [f"What? {off}"]


def in_order_all(entity: tuple[list[float], dict[str, list[Any]]], column: str) -> list[Any]:
    """Values by time, all of each row."""
    times, columns = entity
    rows = sorted(zip(times, columns[column], strict=True), key=lambda row: row[0])
    return [value for _, value in rows]


def test_wrong_words_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = str(tinyrun.clip(tmp_path / "a.mp4", 1))
    for words, said in (
        (["--save", "a.mp4"], "ends with .rrd"),
        (["--channel", "views=a"], "go with --save"),
        (["--patch", "a+b=x"], "NAME=FOLDER"),
    ):
        assert main(["view", film, *words]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert main(["view", str(tmp_path / "none.mp4"), "--save", "a.rrd"]) == 2
