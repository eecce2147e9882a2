"""`Origin`: where a base's weights lie, so that its tower need not be loaded, or only later.

Once the visual tokens of all clips are cached, nothing runs the tower again, so training and
evaluation need neither its memory nor the time to load it. The parts are loaded by Hugging Face's
own `from_pretrained`, on a class that builds the whole model and takes the other part off again
before any weight is read.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pave import hf_compat
from pave.bases.hub import access
from pave.bases.quantised import parts_outside, quantization
from pave.bases.source import must_be_whole
from pave.errors import BaseError
from pave.files import entries_of

# What of a weight file is read to tell it from another one: all of it would take minutes.
BLOCKS, BLOCK_BYTES = 256, 4096


class Absent(nn.Module):
    """Stands where a part was not loaded; it has no weights, and says so when called."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse.

        Raises:
            BaseError: Always.
        """
        raise BaseError(
            "this base was loaded without its tower; call load_tower() on it, or pass visual "
            "tokens from a cache"
        )


def on_meta(make: Callable[[Any], Any], config: Any) -> Any:
    """A model that has shapes but no numbers, so that one of any size is made in seconds."""
    with torch.device("meta"):
        return make(config)


@dataclass(frozen=True)
class Origin:
    """The files of a base and how to load them.

    Attributes:
        model_class: The Hugging Face class.
        source: Folder or Hub id.
        config: The model's config.
        dtype: As for `from_pretrained`.
        language_model: Name of the language model's submodule of `model.model`.
        options: For `from_pretrained` beside the type.
        quantize: How the language model is quantised while it is loaded, by its word. The tower
            never is, so its tokens are those of the plain base.
        bars: Whether the progress bars of transformers are shown while weights are read.
    """

    model_class: Any
    source: str
    config: Any
    dtype: Any
    language_model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    quantize: str | None = None
    bars: bool = True

    def load(self, tower: bool = True) -> Any:
        """The model; without its tower, `Absent` stands in the place of tower and projector.

        Raises:
            BaseError: If the files lack some of its weights.
        """
        options = dict(self.options)
        if self.quantize is not None:
            outside = parts_outside(on_meta(self.model_class, self.config), self.language_model)
            dtype = self.config.dtype if self.dtype == "auto" else self.dtype
            options["quantization_config"] = quantization(self.quantize, outside, dtype)
        if tower:
            return self._read(self.model_class, options)

        def towers(model: Any) -> list[tuple[nn.Module, str]]:
            return [(model.model, name) for name in self._towers(model)]

        return self._read_without(towers, options)

    def load_tower(self) -> dict[str, nn.Module]:
        """Tower and projector by their names in `model.model`."""

        def language(model: Any) -> list[tuple[nn.Module, str]]:
            return [(model.model, self.language_model), (model, "lm_head")]

        model = self._read_without(language, self.options)
        return {name: getattr(model.model, name) for name in self._towers(model)}

    def _towers(self, model: Any) -> list[str]:
        # Tower and projector, by the family's own names; a lone newline vector is no child.
        return [name for name, _ in model.model.named_children() if name != self.language_model]

    def _read_without(
        self, parts: Callable[[Any], list[tuple[nn.Module, str]]], options: Mapping[str, Any]
    ) -> Any:
        """Load all but some parts, given as (owner, name) pairs of a model that is just built."""
        whole = self.model_class

        def build(model: Any, config: Any) -> None:
            whole.__init__(model, config)
            gone = parts(model)
            for owner, name in gone:
                setattr(owner, name, Absent())
            # Else every tensor of these parts in the files is reported as unexpected.
            hf_compat.expect_no_weights_of(model, [name for _, name in gone])

        # The class keeps its name, by which from_pretrained finds conversions of old checkpoints.
        members = {"__init__": build, "__module__": whole.__module__}
        partial: Any = type(whole.__name__, (whole,), members)
        model = self._read(partial, options)
        # Whoever asks for the model's class, or saves it, gets Hugging Face's.
        model.__class__ = whole
        return model

    def _read(self, model_class: Any, options: Mapping[str, Any]) -> Any:
        with contextlib.nullcontext() if self.bars else hf_compat.without_bars():
            model, report = model_class.from_pretrained(
                self.source,
                config=self.config,
                dtype=self.dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `must_be_whole` names them
                **access(self.source),
                **options,
            )
        advice = "download it again"
        if self.quantize is not None:
            # Its readers do not both take fused weights apart (Molmo2's) and quantise them.
            advice = (
                f"transformers may be unable to quantise them to {self.quantize}; leave "
                "quantize out"
            )
        must_be_whole(self.source, model, report, advice)
        return model

    def identity(self) -> str:
        """A digest that changes with the files: names, sizes, times and evenly spread blocks.

        Empty where there are no safetensors files to tell.
        """
        folder = self._folder()
        files = entries_of(folder, "*.safetensors") if folder else []
        if not files:
            return ""
        # The type counts: a tower in bf16 makes other tokens than one in fp32.
        digest = hashlib.sha256(f"{self.config.to_json_string()} {self.dtype}".encode())
        for file in files:
            size, changed = file.stat().st_size, file.stat().st_mtime_ns  # bytes, nanoseconds
            digest.update(f"{file.name} {size} {changed}".encode())
            with file.open("rb") as stream:
                # The first block holds the header, the last one ends with the file.
                for number in range(BLOCKS):
                    stream.seek(number * max(0, size - BLOCK_BYTES) // (BLOCKS - 1))
                    digest.update(stream.read(BLOCK_BYTES))
        return digest.hexdigest()

    def _folder(self) -> Path | None:
        """The folder of the files, in the Hub's cache for an id."""
        if Path(self.source).is_dir():
            return Path(self.source)
        found = hf_compat.find_file(
            self.source, "config.json", cached_only=True, **access(self.source)
        )
        return found.parent if found else None
