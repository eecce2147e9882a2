"""Patches of a model for others: probed, and saved as they are published."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor

from pave import hf_compat
from pave.arguments import as_kind, as_whole
from pave.errors import BaseError, ConfigError, PatchError
from pave.media import Frames
from pave.patches.folder import check_folder
from pave.patches.folder_card import describe_folder
from pave.patches.names import known_name
from pave.patches.parts import Part
from pave.patches.probe import Probe, ProbeMatch, compare_probes, take_probe
from pave.tokens import Tokens

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

FRAMES, HEIGHT, WIDTH = 4, 48, 64
STEPS = 8
"""Side tokens of a probe, spread over its clip."""
QUESTION = "What happens in the video?"


@contextmanager
def saved_for_hub(model: PatchedModel, repo: str, name: str | None) -> Iterator[Path]:
    """A folder of a patch for the time of the context, called like the repository, with a probe.

    Raises:
        PatchError: If the patch cannot be saved.
    """
    name = known_name(name, model.patches)
    patch = model.patches[name]
    before = patch.saved, patch.folder, patch.config
    try:
        with tempfile.TemporaryDirectory() as place:
            # The folder's name becomes the card's title.
            folder = Path(place) / (repo.rpartition("/")[2] or "patch")
            model.save_patch(folder, name, probe=make_probe(model, name))
            yield folder
    except BaseException:
        # What was not published is not saved either.
        patch.saved, patch.folder, patch.config = before
        raise
    patch.folder = None  # it is gone


@torch.no_grad()
def make_probe(model: PatchedModel, name: str | None = None, seed: int = 0) -> Probe:
    """What the base says to a drawn clip without and with a patch, to be kept with the patch.

    `save_patch(folder, probe=make_probe(model))` keeps it, `check_probe` compares. Patches that it
    was trained on top of are at work, too. A base that was loaded without its tower loads it.

    Args:
        model: A base with the patch on it.
        name: Which patch; the only one when not given.
        seed: Of the clip and the side tokens; the caller's random state is left alone.

    Raises:
        ConfigError: If an argument is of another kind.

    Example:
        >>> from pave.model import PatchedModel
        >>> from pave.patches import LoraSpec
        >>> from pave.testing import tiny_base
        >>> model = PatchedModel(tiny_base())
        >>> name = model.new_patch(None, lora=LoraSpec(), seed=0)
        >>> make_probe(model).moved  # a fresh patch changes nothing
        0.0
    """
    _must_be_model(model)
    as_whole(seed, "seed", most=2**63 - 1)
    name = known_name(name, model.patches)
    working = [base_patch.name for base_patch in model.patches[name].config.base_patches]
    working.append(name)
    generator = torch.Generator().manual_seed(seed)
    shape = (FRAMES, 3, HEIGHT, WIDTH)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    base = model.base
    if not base.tower_loaded:
        base.load_tower()
    clip = base.clip(Frames(pixels, torch.arange(FRAMES, dtype=torch.float64)))
    prompt = base.encode_prompt(clip.text, [(QUESTION, None)])
    inputs = base.batch([prompt.ask()], [clip], pad="left")
    side = {}
    for other in working:
        for part in model.patches[other].parts.values():
            side[part.key] = _side_tokens(part, generator)

    def logits(*names: str) -> Tensor:
        chosen = dict.fromkeys(names, 1.0)
        output = model([side], [clip.times], patches=chosen, logits_to_keep=1, **inputs)
        last: Tensor = output.logits[0, -1]  # [vocabulary]
        return last

    # While it trains a model takes no choice of patches, and drops something out.
    training = model.training
    model.eval()
    try:
        plain, patched = logits(), logits(*working)
    finally:
        model.train(training)
    dtype = str(base.dtype).removeprefix("torch.")
    return take_probe(plain, patched, dtype, seed)


def add_probe(folder: Path) -> str | None:
    """Give a patch folder a probe, where it has none and its base is on this machine.

    A base on the Hub is not downloaded for that, and none is loaded that would not fit into memory.

    Args:
        folder: A patch folder; its `patch.json` gets the probe, and its card follows.

    Returns:
        Why there is no probe; None where there is one.

    Raises:
        PatchError: If the folder is damaged.
    """
    from pave.bases import load_base
    from pave.model.model import PatchedModel

    config = check_folder(folder)
    if config.probe is not None:
        return None
    if config.base_patches:
        return "the patch was trained on top of others"
    name = config.base.name
    if reason := _unready(name, config.base.revision):
        return reason
    try:
        model = PatchedModel(load_base(name, revision=config.base.revision, device="auto"))
        probe = make_probe(model, model.load_patch(folder))
    except (BaseError, ConfigError, PatchError) as error:
        return str(error)
    describe_folder(folder, {"probe": probe.model_dump()})
    return None


def _unready(name: str, revision: str | None) -> str | None:
    """Why a base cannot be loaded here and now; None where it can be tried."""
    if name == "smol":
        return None
    place = Path(name)
    if not place.is_dir():
        if not hf_compat.can_be_hub_id(name):
            return f"its base {name} is not on this machine"
        try:
            found = snapshot_download(name, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            return f"its base {name} is not on this machine"
        place = Path(found)
    weights = sum(file.stat().st_size for file in place.glob("*.safetensors") if file.is_file())
    if not weights:  # only its settings were fetched
        return f"the weights of its base {name} are not on this machine"
    # On a GPU they pass through memory as well.
    if weights > psutil.virtual_memory().available:
        return f"its base {name} does not fit into the free memory"
    return None


def _must_be_model(given: object) -> None:
    from pave.model.model import PatchedModel  # which imports this module

    as_kind(given, PatchedModel, "what is probed is a PatchedModel")


def _side_tokens(part: Part, generator: torch.Generator) -> Tokens:
    """Random tokens of a patch's channel, `[STEPS, 1, C]`."""
    values = torch.randn(STEPS, 1, part.spec.fusion.side_dim, generator=generator)
    times = torch.arange(STEPS, dtype=torch.float64) * (FRAMES / STEPS)
    return Tokens(values, times)


def check_probe(model: PatchedModel, name: str | None = None) -> ProbeMatch:
    """Whether a patched base still says what it said when the patch was saved.

    Args:
        model: A base with the patch on it.
        name: Which patch; the only one when not given.

    Raises:
        PatchError: If the patch holds no probe.
        ConfigError: If that is no model with patches.
    """
    _must_be_model(model)
    name = known_name(name, model.patches)
    saved = model.patches[name].config.probe
    if saved is None:
        raise PatchError(
            f"patch '{name}' holds no probe; save it again with one: "
            "save_patch(folder, probe=make_probe(model))"
        )
    return compare_probes(saved, make_probe(model, name, saved.seed))
