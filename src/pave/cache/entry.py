"""What a token cache notes about an entry beside its tensors: a checksum, who made it, of what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from pave.texts import parse_json


@dataclass(frozen=True)
class Note:
    """Kept in the metadata of a safetensors file, with the tensors it belongs to.

    Attributes:
        sha256: Of names, types, shapes and values of the tensors; empty in caches of older
            versions.
        label: What made them, e.g. "audio/mel"; empty if nobody said.
        content: Digest of the media they were made from; empty if nobody said.
        bytes: Size of the tensors.
        names: Names of the tensors.
    """

    sha256: str = ""
    label: str = ""
    content: str = ""
    bytes: int = 0
    names: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Note:
        """The inverse of `to_json`.

        Raises:
            ValueError: If it is no such line.
        """
        try:
            fields = parse_json(text)
            # JSON knows no tuples.
            fields["names"] = tuple(fields["names"])
            return cls(**fields)
        # TypeError: a field that only newer versions know.
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a note of the token cache: {error}") from error

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether tensors are those that were noted, as far as the note says."""
        return not self.sha256 or checksum(tensors) == self.sha256


def note_of(tensors: Mapping[str, Tensor], label: str = "", content: str = "") -> Note:
    """The note of tensors."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    return Note(checksum(tensors), label, content, size, tuple(sorted(tensors)))


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, whatever file they lie in."""
    digest = hashlib.sha256()
    # In order of names, because a file does not keep the order in which they were given.
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        # Type and shape too: the same bytes can be another tensor.
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # numpy has no bfloat16; as bytes any type can be hashed.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
