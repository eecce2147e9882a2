"""Writes docs/gallery.md: a clip of every channel, what its sensor sees, and what was answered.

    python tools/gallery.py outputs/demo  # after a demo that has run to its end

Pictures and sounds go to docs/assets/gallery. The clips are of the embedded world's test split. For
sound, answers are those of the evaluation that is given.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from pave.channels.scene3d.scene import open_scene
from pave.data import Record, group_by_clip, read_records
from pave.evaluate.clip_media import sound_of
from pave.evaluate.finished import Question, read_finished
from pave.media import Uniform, read_frames
from pave_world.films.make import make_world

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gallery.md"
ASSETS = ROOT / "docs" / "assets" / "gallery"
HEIGHT, GAP = 168, 6
QUESTIONS = 4  # of a clip
# Test clips on which every kind of thing happens that the channel is for.
CLIPS = {"scene3d": 1, "views": 6, "frames": 3}
Picture = npt.NDArray[np.uint8]  # [H, W, 3]
Said = Mapping[str, str]
"""Arm -> answer."""


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="out folder of a finished `pave demo`")
    args = parser.parse_args()
    ASSETS.mkdir(parents=True, exist_ok=True)
    parts = heard(args.run)
    for channel, number in CLIPS.items():
        with tempfile.TemporaryDirectory() as folder:
            parts |= {channel: seen(channel, number, Path(folder))}
    page = PAGE.read_text("utf-8")
    for channel, text in parts.items():
        start, end = f"<!-- {channel}:start -->\n", f"<!-- {channel}:end -->"
        before, rest = page.split(start)
        after = rest.split(end)[1]
        page = f"{before}{start}\n{text}\n\n{end}{after}"
    PAGE.write_text(page, "utf-8")


def heard(run: Path) -> dict[str, str]:
    """The sound clips: the one with the largest gain, and the one with the largest loss."""
    finished = read_finished(run)
    arms = finished.report.arm_names()
    by_id = {question.record.id: question for question in finished.questions}
    clips = [
        [by_id[record.id] for record in members]
        for members in group_by_clip([question.record for question in finished.questions])
    ]
    clips.sort(key=lambda clip: gain(clip, arms[0], arms[-1]))
    texts = []
    for name, clip in (("sound", clips[-1]), ("sound-lost", clips[0])):
        rows = [(question.record, question.said) for question in needing(clip)]
        record = rows[0][0]
        strip(ASSETS / f"{name}.jpg", frames(record.video, 4))
        ASSETS.joinpath(f"{name}.mp3").write_bytes(sound_of(record.video, 10.0))
        player = f'<audio controls preload="none" src="../assets/gallery/{name}.mp3"></audio>'
        texts.append(f"![Four frames of the clip](assets/gallery/{name}.jpg)\n\n{player}\n")
        texts.append(table(rows, arms) + "\n")
    return {"audio": "\n".join(texts).strip()}


def gain(clip: Sequence[Question], base: str, patch: str) -> float:
    """Questions that need sound, answered right by the patch, minus those by the base."""
    return sum(
        (question.scores[patch] or 0) - (question.scores[base] or 0) for question in needing(clip)
    )


def needing(clip: Sequence[Question]) -> list[Question]:
    """The questions that need sound."""
    return [question for question in clip if "audio" in question.labels]


def seen(channel: str, number: int, folder: Path) -> str:
    """One clip of another channel, and what is asked about it."""
    records = read_records(make_world(folder, "test", number + 1, channel=channel))
    clip = group_by_clip(records)[number]
    video = clip[0].video
    strip(ASSETS / f"{channel}.jpg", frames(video, 4))
    lines = ["What the base sees:", "", f"![Four frames](assets/gallery/{channel}.jpg)", ""]
    for name, title, pictures in extras(channel, clip[0]):
        strip(ASSETS / f"{name}.jpg", pictures)
        lines += [f"{title}:", "", f"![{title}](assets/gallery/{name}.jpg)", ""]
    asked = [record for record in clip if record.meta["channel"] == channel]
    rows: list[tuple[Record, Said]] = [(record, {}) for record in asked[:QUESTIONS]]
    return "\n".join([*lines, table(rows, [])])


def extras(channel: str, record: Record) -> list[tuple[str, str, list[Picture]]]:
    """(name, title, pictures) of what only the channel has."""
    media = record.channels[channel]
    if channel == "views":
        titles = ("A camera behind the screen", "A camera that looks the other way")
        return [
            (f"views-{place}", title, frames(path, 4))
            for place, (title, path) in enumerate(zip(titles, media, strict=True), 1)
        ]
    if channel == "frames":
        return [("frames-all", "What happens in between", frames(media, 12))]
    scene = open_scene(media)
    depths = [scene.read(index).depth for index in scene.evenly(4)]
    nearest, farthest = np.min(depths), np.max(depths)
    colours = matplotlib.colormaps["viridis_r"]
    pictures = [
        (255 * colours((depth - nearest) / (farthest - nearest))[..., :3]).astype(np.uint8)
        for depth in depths
    ]
    title = f"Depth, from {nearest:.1f} m (yellow) to {farthest:.1f} m (violet)"
    return [("scene3d-depth", title, pictures)]


def frames(path: str, count: int) -> list[Picture]:
    """Evenly spread frames."""
    pixels = read_frames(path, Uniform(count)).pixels
    return [picture.permute(1, 2, 0).numpy() for picture in pixels]


def strip(file: Path, pictures: Sequence[Picture]) -> None:
    """Pictures side by side, six in a row."""
    small = []
    for picture in pictures:
        width = round(HEIGHT * picture.shape[1] / picture.shape[0])
        small.append(Image.fromarray(picture).resize((width, HEIGHT), Image.Resampling.LANCZOS))
    across = min(len(small), 6)
    down = -(-len(small) // across)
    step, rise = small[0].width + GAP, HEIGHT + GAP
    whole = Image.new("RGB", (across * step - GAP, down * rise - GAP), "white")
    for place, picture in enumerate(small):
        whole.paste(picture, (place % across * step, place // across * rise))
    whole.save(file, quality=82, optimize=True)


def table(rows: Sequence[tuple[Record, Said]], arms: Sequence[str]) -> str:
    """Questions, right answers, and what each arm said."""
    titles = ["question", "right answer", *arms]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for record, said in rows:
        right = record.answers[0]
        cells = [record.turns[0].question, right]
        for arm in arms:
            # Exact match forgives case, articles and the full stop.
            answer = said[arm].strip().rstrip(".")
            cells.append(f"**{answer}**" if answer.lower() == right.lower() else answer)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
