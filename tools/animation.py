"""Draws docs/assets/demo.gif: a clip, its sound, and what base and patch answer.

    python tools/animation.py outputs/demo  # after a demo that has run to its end

The clip is the one of the evaluation on which the patch gains most; the answers are those that were
given there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gallery import gain, needing
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from pave.data import clip_key
from pave.evaluate.finished import Question, read_finished
from pave.media import Rate, read_frames, read_sound

OUT = Path(__file__).parents[1] / "docs" / "assets" / "demo.gif"
SIZE = (620, 330)
FILM = (20, 56, 220)  # left, top, side
WAVE = (20, 286, 220, 28)  # left, top, width, height
TEXT = 268  # left edge of the questions
ROW = 84  # pixels of a question
FPS = 10
HOLD = 35  # frames at the end
SHOWN = 3  # questions
FRONT, QUIET, RIGHT, WRONG, PATCH = "#1c2430", "#5b6675", "#15803d", "#b91c1c", "#ea580c"


def main() -> None:
    """Write the animation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="out folder of a finished `pave demo`")
    finished = read_finished(parser.parse_args().run)
    arms = finished.report.arm_names()
    base, patch = arms[0], arms[-1]
    clips: dict[str, list[Question]] = {}
    for question in finished.questions:
        clips.setdefault(clip_key(question.record), []).append(question)
    best = max(clips.values(), key=lambda clip: gain(clip, base, patch))
    asked = sorted(needing(best), key=lambda question: -gain([question], base, patch))[:SHOWN]
    pictures = draw(asked, base, patch)
    # One palette for all frames, so that nothing flickers.
    palette = pictures[-1].quantize(64, dither=Image.Dither.NONE)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(
        OUT, save_all=True, append_images=frames[1:], duration=1000 // FPS, loop=0, optimize=True
    )
    print(f"{OUT}: {len(frames)} frames, {OUT.stat().st_size / 1e6:.2f} MB")


def draw(asked: list[Question], base: str, patch: str) -> list[Image.Image]:
    """Every frame of the animation."""
    video = asked[0].record.video
    film = read_frames(video, Rate(FPS)).pixels.permute(0, 2, 3, 1).numpy()  # [F, H, W, 3]
    heard = read_sound(video, 8000)
    wave = np.zeros(8000) if heard is None else heard.samples.numpy()
    count = len(film)
    frames = []
    for number in range(count + HOLD):
        shown = Image.fromarray(film[min(number, count - 1)])
        share = min(1.0, (number + 1) / count)
        frames.append(frame(shown, wave, share, asked, base=base, patch=patch))
    return frames


def frame(
    film: Image.Image,
    wave: np.ndarray,
    share: float,
    asked: list[Question],
    *,
    base: str,
    patch: str,
) -> Image.Image:
    """One frame, after a share of the clip."""
    whole = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(whole)
    pen.text((20, 16), "The base sees this.", fill=FRONT, font=font(17, bold=True))
    pen.text((TEXT, 16), "The patch also hears it.", fill=PATCH, font=font(17, bold=True))
    left, top, side = FILM
    whole.paste(film.resize((side, side), Image.Resampling.LANCZOS), (left, top))
    draw_wave(pen, wave, share)
    for place, question in enumerate(asked):
        # One after another while the clip plays.
        if share < (place + 1) / (len(asked) + 1):
            continue
        draw_answers(pen, FILM[1] + place * ROW, question, base, patch)
    return whole


def draw_wave(pen: ImageDraw.ImageDraw, wave: np.ndarray, share: float) -> None:
    """Loudness by time; what has been heard is orange."""
    left, top, width, height = WAVE
    loud = np.array([np.abs(part).max() for part in np.array_split(wave, width // 3)])
    loud = loud / max(loud.max(), 1e-6)
    for place, level in enumerate(loud):
        half = max(1, round(level * height / 2))
        middle, x = top + height // 2, left + 3 * place
        colour = PATCH if place < share * len(loud) else "#d5dbe3"
        pen.rectangle((x, middle - half, x + 1, middle + half), fill=colour)


def draw_answers(
    pen: ImageDraw.ImageDraw, top: int, question: Question, base: str, patch: str
) -> None:
    """A question, and what both said."""
    pen.text((TEXT, top), question.record.turns[-1].question, fill=FRONT, font=font(16))
    for line, (arm, name) in enumerate(((base, "base"), (patch, "with the patch")), 1):
        right = question.scores[arm] == 1
        pen.text((TEXT, top + 24 * line), name, fill=QUIET, font=font(15))
        mark, colour = ("\u2713", RIGHT) if right else ("\u2717", WRONG)
        text = f"{mark} {question.said[arm]}"
        pen.text((TEXT + 150, top + 24 * line), text, fill=colour, font=font(16, bold=True))


def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings, so that every machine draws the same."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


if __name__ == "__main__":
    main()
