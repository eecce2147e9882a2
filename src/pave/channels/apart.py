"""An encoder that reads its media in a worker process, and a tower that answers it from here."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pave.cache import Source
from pave.channels.encoder import Encoder, identity_of
from pave.channels.registry import make_encoder, needs_tower
from pave.channels.tower import Cells, Tower, Window
from pave.errors import ChannelError
from pave.tokens import Tokens
from pave.workers import Workers, ask_parent, kept

if TYPE_CHECKING:
    from pave.media import Frames


@dataclass(frozen=True)
class Recipe:
    """What makes an encoder in another process.

    Attributes:
        channel: Its channel.
        name: Its name.
        settings: Its settings as JSON.
        module: Where its class is written.
        kind: The class's name there: two encoders may bear one name.
        tower: What is known of the base's tower, for encoders that read with it.
    """

    channel: str
    name: str
    settings: str
    module: str
    kind: str
    tower: RemoteTower | None


@dataclass(frozen=True)
class RemoteTower:
    """The `Tower` of the parent process, as a worker sees it: frames go there, tokens come back.

    So a base's weights are loaded once, however many processes decode.
    """

    dim: int
    frames_per_step: int
    digest: str

    def cells(self, frames: Frames) -> Cells:
        """Tokens of decoded frames."""
        # As arrays, which travel at the speed of memory.
        values, times = ask_parent("cells", frames.pixels.numpy(), frames.times.numpy())
        return Cells(torch.from_numpy(values), torch.from_numpy(times))

    def window(self, height: int, width: int) -> Window:
        """Which part of pictures of this size the tower sees."""
        window: Window = ask_parent("window", height, width)
        return window


class EncoderApart:
    """An encoder whose `encode` runs in a worker.

    Args:
        encoder: The encoder.
        recipe: What makes it there, from `recipe_of`.
        workers: The processes.
        tower: The base's tower, for encoders that read with it.
    """

    def __init__(
        self, encoder: Encoder, recipe: Recipe, workers: Workers, tower: Tower | None
    ) -> None:
        self._encoder, self._recipe = encoder, recipe
        self._workers, self._tower = workers, tower

    @property
    def channel(self) -> str:
        """The kind of signal it reads."""
        return self._encoder.channel

    @property
    def name(self) -> str:
        """Its name among the channel's encoders."""
        return self._encoder.name

    @property
    def dim(self) -> int:
        """C, the features of one token."""
        return self._encoder.dim

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings as JSON values."""
        return self._encoder.settings

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the tokens depend on."""
        return identity_of(self._encoder)

    def encode(self, source: Source) -> Tokens | None:
        """Encode one clip's channel.

        Raises:
            WorkerDiedError: If the media ended the process that read them.
        """
        about = str(source)  # a list of cameras is named whole
        tokens: Tokens | None = self._workers.call(
            about, _encode, self._recipe, source, answer=self._answer
        )
        return tokens

    def _answer(self, asked: str, *arguments: Any) -> Any:
        """What a `RemoteTower` asks for."""
        # Late, because listing encoders must not load a decoder.
        from pave.media import Frames

        assert self._tower is not None  # who asks was made with one
        if asked == "window":
            return self._tower.window(*arguments)
        pixels, times = map(torch.from_numpy, arguments)
        # In this thread, beside whatever else the tower does, as an encoder here would.
        cells = self._tower.cells(Frames(pixels, times))
        return cells.values.numpy(), cells.times.numpy()


def recipe_of(encoder: Encoder, tower: Tower, workers: Workers) -> Recipe | None:
    """What makes an encoder in a worker; None for one that only this process knows.

    That is an encoder of the script that runs, or one that was never registered.
    """
    remote = None  # most encoders have weights of their own, or none
    try:
        if needs_tower(encoder.channel, encoder.name):
            remote = RemoteTower(tower.dim, tower.frames_per_step, tower.digest)
    except ChannelError:  # it was never registered
        return None
    # Not the encoder itself: it may hold weights, or the base.
    kind = type(encoder)
    recipe = Recipe(
        encoder.channel,
        encoder.name,
        json.dumps(dict(encoder.settings), sort_keys=True),
        kind.__module__,
        kind.__qualname__,
        remote,
    )
    known: bool = workers.call(f"{encoder.channel}/{encoder.name}", _can_make, recipe)
    if not known:
        return None
    return recipe


def _can_make(recipe: Recipe) -> bool:
    """In a worker: whether the recipe gives an encoder of the same class there."""
    try:
        kind = type(_made(recipe))
    # Whatever fails here would fail for every clip; in the parent it is told as it should be.
    except Exception:
        return False
    return (kind.__module__, kind.__qualname__) == (recipe.module, recipe.kind)


def _encode(recipe: Recipe, source: Source) -> Tokens | None:
    """In a worker: encode."""
    return _made(recipe).encode(source)


def _made(recipe: Recipe) -> Encoder:
    """In a worker: the encoder, made with the first clip."""

    def make() -> Encoder:
        # The module may register the encoder as it is imported, without an entry point.
        importlib.import_module(recipe.module)
        settings = json.loads(recipe.settings)  # text, so that a recipe can be a key
        return make_encoder(recipe.channel, recipe.name, settings, tower=recipe.tower)

    encoder: Encoder = kept(recipe, make)
    return encoder
