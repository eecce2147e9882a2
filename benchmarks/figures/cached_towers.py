"""The second epoch: tokens from the cache against decoding, tower and encoder again.

Each side is one pass over 2 clips with 8 questions each on `smol`: once all that makes the tokens,
once with the training step behind it. Our side runs on a base whose tower was left on the disk and
asserts that it stays there: zero tower calls.
"""

from __future__ import annotations

from figures.shared_prefix import cached, samples, trainer
from harness import Row, in_turn
from videos import Bench, bench

from pave.bases import load_base
from pave.cache import TokenCache
from pave.data import Features
from pave.train.objective import AnswerModel

CLIPS, QUESTIONS = 2, 8


class Nothing(TokenCache):
    """A store that forgets: everything is computed again."""

    def contains(self, key: str) -> bool:
        """Never."""
        return False


def recomputed(made: Bench, frames: int) -> None:
    """Decode, encode and run the tower for every clip."""
    encoders = made.features(frames).encoders
    features = Features(made.base, encoders, Nothing(made.folder / "again"), frames=frames)
    features.precompute([group[0] for group in made.groups])


def measure() -> list[Row]:
    """4 frames, smol's own, and the paper's 32."""
    rows = []
    with bench(CLIPS, QUESTIONS, "train") as made:
        seeing = made.base
        for frames in (4, 32):
            made.base = seeing
            made.features(frames).precompute([group[0] for group in made.groups])
            made.base = load_base("smol", tower=False)
            made.features(
                frames
            )  # the first epoch: the store learns whose tower these weight files hold
            made.base = load_base("smol", tower=False)
            features = made.features(frames)
            model = AnswerModel(made.patched()).train()
            step = trainer(model.patched, cached(model, samples(made, features, True), True))

            def read(features: Features = features) -> None:
                for group in made.groups:
                    clip = features[group[0]]
                    clip.visual.tokens.sum(), clip.channels["audio"].values.sum()

            blind, made.base = made.base, seeing
            again = lambda frames=frames: recomputed(made, frames)  # noqa: E731
            tokens = in_turn(read, again, 3)
            rows.append(
                Row.gain(
                    f"tokens of {CLIPS} clips of {frames} frames, stored against computed", tokens
                )
            )
            epoch = in_turn(lambda: (read(), step()), lambda: (again(), step()), 3)  # noqa: B023
            assert not blind.tower_loaded, "the second epoch ran the tower"
            note = "zero tower calls: the tower stayed on the disk"
            rows.append(
                Row.gain(
                    f"second epoch, {QUESTIONS} questions a clip, {frames} frames", epoch, note=note
                )
            )
    return rows
