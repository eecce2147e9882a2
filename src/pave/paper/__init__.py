"""The authors' formats: everything that PAVE's authors published, read as it lies on disk.

What they released is written by code of 2025 with names of its own. This room is the only one that
knows them; all others meet patches, tokens and records.

| their file | module | here it becomes |
|---|---|---|
| names of configs, constructor arguments | `configs` | `FusionConfig`, `InputSpec` |
| `non_lora_trainables.bin`, `mm_projector.bin` | `weights` | `Fusion` with their weights |
| `adapter_model.*`, `adapter_config.json` | `adapter` | `LoraSpec` and a peft adapter |
| a whole checkpoint folder | `convert` (`pave convert`) | one patch folder, or two |
| `.pt` and `.npy` feature files | `features` (encoder `official`) | `Tokens` |
| annotation files and their two mapping files | `annotations` | `Record`s |

On disk and on the command line the encoder stays `official`, and `--style authors` does to the
letter what their evaluation scripts do (`pave.tasks`, a benchmark a file, holds those scripts).

Example:
    >>> from pave.paper import fusion_config
    >>> fusion_config("V5_1_3_audio_languagebind_7B").layers
    2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.paper.annotations import AuthorsRecords, read_annotations
    from pave.paper.checkpoint import Converted, convert
    from pave.paper.configs import AUTHORS_INPUTS, fusion_config, list_configs
    from pave.paper.features import side_from_disk
    from pave.paper.weights import authors_name, load_fusion, side_from_batch

_HOMES = {
    "AUTHORS_INPUTS": "pave.paper.configs",
    "AuthorsRecords": "pave.paper.annotations",
    "Converted": "pave.paper.checkpoint",
    "authors_name": "pave.paper.weights",
    "convert": "pave.paper.checkpoint",
    "fusion_config": "pave.paper.configs",
    "list_configs": "pave.paper.configs",
    "load_fusion": "pave.paper.weights",
    "read_annotations": "pave.paper.annotations",
    "side_from_batch": "pave.paper.weights",
    "side_from_disk": "pave.paper.features",
}

__all__ = [
    "AUTHORS_INPUTS",
    "AuthorsRecords",
    "Converted",
    "authors_name",
    "convert",
    "fusion_config",
    "list_configs",
    "load_fusion",
    "read_annotations",
    "side_from_batch",
    "side_from_disk",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
