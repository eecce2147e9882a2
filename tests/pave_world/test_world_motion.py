"""A moving camera: no frame that a base sees shows it, and a log of it is what physics says.

Answers follow from the moves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.gaps import LENGTHS, NUMBERS, RATES, seen_times
from pave_world import Question, Scene, questions_for, sample_scene
from pave_world.pictures.motion_log import COLUMNS, measured, write_log
from pave_world.scenes.motion import KINDS
from pave_world.scenes.scene import Move


def calm(scene: Scene) -> Scene:
    """The same scene with a camera that only sways."""
    return replace(scene, moves=())


def on_a_tripod(scene: Scene, *moves: Move) -> Scene:
    """The same scene with a camera that does nothing but these moves."""
    camera = replace(scene.camera, sway=0.0, pan=0.0)
    return replace(scene, camera=camera, moves=moves)


def right(scene: Scene, question: Question) -> bool:
    by_start = sorted(scene.moves, key=lambda move: move.start)
    done = [move.kind for move in by_start]
    asked = [kind for kind in done if f" {kind}?" in question.question]
    sizes = {move.kind: move.size for move in scene.moves}
    truth = {
        "move": lambda: done[0],
        "moved": lambda: "yes" if asked else "no",
        "moves": lambda: NUMBERS[len(done)],
        "move_first": lambda: done[0],
        "move_last": lambda: done[-1],
        "turn_side": lambda: "left" if sizes["turn"] < 0 else "right",
    }
    return question.channel == "video" or question.answer == truth[question.family]()


@given(index=st.integers(0, 10**6), fps=RATES, duration=LENGTHS)
def test_answers_are_right_and_no_taken_frame_is_moved(
    index: int, fps: float, duration: float
) -> None:
    scene = sample_scene("motion", "train", index, duration=duration)
    assert all(right(scene, question) for question in questions_for(scene, None))
    still = calm(scene)
    assert all(scene.pose(time) == still.pose(time) for time in seen_times(duration, fps).tolist())
    for move in scene.moves:
        middle = (move.start + move.end) / 2
        assert scene.pose(middle + 0.03) != still.pose(middle + 0.03)


def test_what_the_camera_does_is_drawn_fairly() -> None:
    scenes = [sample_scene("motion", "train", index) for index in range(3000)]
    counts = Counter(len(scene.moves) for scene in scenes)
    assert all(abs(counts[number] / 3000 - 1 / 3) < 0.03 for number in (1, 2, 3))
    kinds = Counter(move.kind for scene in scenes for move in scene.moves)
    assert set(kinds) == set(KINDS)
    assert all(abs(count / kinds.total() - 1 / 4) < 0.03 for count in kinds.values())
    for scene in scenes:
        ends = [time for move in scene.moves for time in (move.start, move.end)]
        assert ends == sorted(ends)
        assert len({move.kind for move in scene.moves}) == len(scene.moves)


def test_a_sensor_at_rest_reads_one_g_upwards_and_nothing_else() -> None:
    still = on_a_tripod(sample_scene("motion"))
    rows = measured(still, np.linspace(0.5, 3.5, 7))
    assert rows == pytest.approx(np.tile([0, 0, 0, 0, -9.81, 0], (7, 1)))


def test_a_sensor_integrates_to_where_the_camera_went() -> None:
    """Rates of turning add up to the angle, accelerations twice to the way."""
    rate = 2000.0
    times = np.arange(4000) / rate
    scene = sample_scene("motion")
    out = times < 0.75  # the way out of a move from 0.5 to 1.5 s takes a quarter of it
    turned = measured(on_a_tripod(scene, Move("turn", 0.5, 1.5, -0.3)), times)
    assert turned[out, 1].sum() / rate == pytest.approx(-0.3, abs=2e-3)
    assert turned[:, 1].sum() / rate == pytest.approx(0.0, abs=2e-3)
    leant = measured(on_a_tripod(scene, Move("lean", 0.5, 1.5, 0.2)), times)
    speed = np.cumsum(leant[:, 3]) / rate
    assert speed[out].sum() / rate == pytest.approx(0.2, abs=2e-3)
    jumped = measured(on_a_tripod(scene, Move("jump", 0.5, 1.5, 0.1)), times)
    speed = np.cumsum(-(jumped[:, 4] + 9.81)) / rate  # the axis points down
    assert speed[out].sum() / rate == pytest.approx(0.1, abs=2e-3)
    shaken = measured(on_a_tripod(scene, Move("shake", 0.5, 1.5, 0.05)), times)
    signs = np.sign(shaken[:, 1])
    assert np.count_nonzero(signs[1:] * signs[:-1] < 0) >= 6  # there and back, four times a second


def test_a_sensor_that_is_turned_feels_a_push_along_its_own_axes() -> None:
    """A camera that looks along the room's right axis feels a push to the right as one ahead."""
    scene = sample_scene("motion")
    sideways = on_a_tripod(scene, Move("lean", 0.5, 1.5, 0.2))
    camera = replace(sideways.camera, pan=np.pi / 2, phase=0.0, period=1e9)
    rows = measured(replace(sideways, camera=camera), np.array([0.55]))
    ahead = measured(sideways, np.array([0.55]))
    assert rows[0, 5] == pytest.approx(ahead[0, 3], rel=1e-3) and ahead[0, 3] > 1
    assert abs(rows[0, 3]) < 1e-3


def test_a_log_has_a_row_every_hundredth_second(tmp_path: Path) -> None:
    scene = sample_scene("motion", "test", 3)
    file = write_log(tmp_path / "a.csv", scene)
    head, *rows = file.read_text().splitlines()
    assert head.split(",") == list(COLUMNS)
    values = np.array([row.split(",") for row in rows], dtype=float)
    assert values.shape == (400, 7)
    assert values[:, 0] == pytest.approx(np.arange(400) / 100)
    noise = values[:, 1:] - measured(scene, values[:, 0])
    assert noise.std(axis=0) == pytest.approx([0.01] * 3 + [0.05] * 3, rel=0.2)
    assert file.read_bytes() == write_log(tmp_path / "b.csv", scene).read_bytes()
    assert file.read_bytes() != write_log(tmp_path / "c.csv", calm(scene)).read_bytes()
