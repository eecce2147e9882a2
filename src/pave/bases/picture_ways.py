"""How each family sees a single picture: what its image processor is asked, what a prompt says.

The text that stands for a picture is that of the family's processor in transformers, for each of
which there is one function below. It is also the place to write down what a model has to be told
beside the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pave.bases.base import Base
from pave.bases.families.common import side_of
from pave.bases.families.grids import patches_of, split_grids, token_grids
from pave.bases.source import read_json
from pave.bases.visual import Layout, Visual


@dataclass(frozen=True)
class Sight:
    """One picture, seen.

    Attributes:
        base: The base.
        output: What the model's `get_image_features` returned for this picture alone.
        given: What the image processor made of it.
        number: How many pictures stand before it in the prompt.
    """

    base: Base
    output: Any
    given: Mapping[str, Any]
    number: int

    @property
    def token(self) -> str:
        """The token that stands for one token of a picture."""
        return image_token(self.base)


Read = Callable[[Sight], tuple[str, Visual]]
"""A picture that was seen -> the prompt's text, the tokens."""


@dataclass(frozen=True)
class Way:
    """How a family sees a picture.

    Attributes:
        read: See `Read`.
        options: Of the image processor, as the family's own processor gives them.
        inputs: What the language model gets to know, beside the tokens.
        beside_clips: Whether a prompt may hold clips, too.
        closely_alone: Whether a picture is cut into tiles only where it is the prompt's only one.
        written: What a chat template writes for a picture, where that is not its token.
        marks: Tokens around and within a picture that see each other as its own do, where who sees
            whom depends on that and the model's config does not tell them all.
    """

    read: Read
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    beside_clips: bool = True
    closely_alone: bool = False
    written: str = ""
    marks: tuple[str, ...] = ()


MOLMO_MARKS = ("<im_start>", "<low_res_im_start>", "<im_col>", "<im_end>")


def image_token(base: Base) -> str:
    """The token that stands for one token of a picture in a prompt."""
    return str(base.tokenizer.convert_ids_to_tokens(base.config.image_token_id))


def _merged(sight: Sight, merge: int) -> Visual:
    """Tokens of one grid of patches, of which so many along a side are one token."""
    grids = token_grids(sight.given["image_grid_thw"], merge)
    (visual,) = split_grids(sight.output.pooler_output, grids, None)
    return visual


def _qwen(sight: Sight) -> tuple[str, Visual]:
    """One grid, a step in time; Qwen3-VL's deepstack travels along."""
    family = sight.base.family
    merge = patches_of(sight.base.config).merge
    visual = _merged(sight, merge)
    deep = getattr(sight.output, "deepstack_features", None) or ()
    levels = [level[0] for level in deep]
    # Between the marks of a video: the Omni models call them otherwise.
    opened, _, closed = family.video_text.partition(family.placeholder)
    places = sight.token * visual.layout.total
    whole = replace(visual, extra=tuple(levels))
    return opened + places + closed, whole


def _glm(sight: Sight) -> tuple[str, Visual]:
    """One grid, between marks of its own."""
    merge = patches_of(sight.base.config).merge
    visual = _merged(sight, merge)
    places = sight.token * visual.layout.total
    return f"<|begin_of_image|>{places}<|end_of_image|>", visual


def _video_llama_3(sight: Sight) -> tuple[str, Visual]:
    """One grid without marks; patches of a picture are not merged unless the folder says so."""
    merge = int(sight.given["image_merge_sizes"][0])
    visual = _merged(sight, merge)
    places = sight.token * visual.layout.total
    return places, visual


def _gemma(sight: Sight) -> tuple[str, Visual]:
    """One grid of any shape; positions count patches, of which k x k are a token."""
    (tokens,) = sight.output.pooler_output  # [n, D]
    places = sight.given["image_position_ids"][0]  # [patches, 2]: x, y; -1 where it is padded
    last_column, last_row = places.amax(0).tolist()
    rows, columns = last_row + 1, last_column + 1
    along = math.isqrt(rows * columns // tokens.shape[0])  # patches along the side of a token
    layout = Layout(1, rows // along, columns // along)
    text = sight.token * layout.total
    return f"<|image>{text}<image|>", Visual(tokens, layout)


def _internvl(sight: Sight) -> tuple[str, Visual]:
    """Tiles, and the whole picture last."""
    text, visual = _tiles(sight)
    return f"<img>{text}</img>", visual


def _tiles(sight: Sight) -> tuple[str, Visual]:
    """Square tiles that lie behind each other, with nothing between."""
    tokens = sight.output.pooler_output  # [tiles, S, D]
    tiles, count, _ = tokens.shape
    side = side_of(count)
    layout = Layout(tiles, side, side)
    places = sight.token * layout.total
    return places, Visual(tokens.flatten(0, 1), layout)


def _smolvlm(sight: Sight) -> tuple[str, Visual]:
    """Rows of tiles, each behind its place, and the whole picture last."""
    (tokens,) = sight.output.pooler_output  # [tiles * S, D]
    # Lists of the pictures of each prompt, here of one.
    rows = sight.given["rows"][0][0]
    columns = sight.given["cols"][0][0]
    tiles = rows * columns + 1
    side = side_of(tokens.shape[0] // tiles)
    around = "<fake_token_around_image>"
    one = sight.token * side**2  # of a tile
    text = ""
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            text += f"{around}<row_{row}_col_{column}>{one}"
        text += "\n"
    if text:
        text += "\n"
    text += f"{around}<global-img>{one}{around}"
    return text, Visual(tokens, Layout(tiles, side, side))


def _llava(sight: Sight) -> tuple[str, Visual]:
    """The whole picture, then its tiles put together, a newline token behind each row."""
    (tokens,) = sight.output.pooler_output  # [n, D]
    visual = _in_a_row([tokens])
    places = sight.token * visual.layout.total
    return places, visual


def _minicpm(sight: Sight) -> tuple[str, Visual]:
    """The picture's number, the whole picture, then rows of slices of their own sizes."""
    whole, *slices = sight.output.pooler_output  # [n, D] each
    places = sight.token * whole.shape[0]
    text = f"<image>{places}</image>"
    if sight.given["use_image_id"]:
        text = f"<image_id>{sight.number}</image_id>{text}"
    rows, columns = sight.given["grids"][0]
    lines = []
    for row in range(rows):
        first = row * columns
        line = ""
        for part in slices[first : first + columns]:
            places = sight.token * part.shape[0]
            line += f"<slice>{places}</slice>"
        lines.append(line)
    text += "\n".join(lines)
    return text, _in_a_row([whole, *slices])


def _molmo(sight: Sight) -> tuple[str, Visual]:
    """The whole picture, then all crops put together, rows ended by a token where the folder says.

    Its processor's own switches are in the folder's file; these are its defaults.
    """
    (tokens,) = sight.output.pooler_output  # [n, D]
    grid = sight.given["image_grids"][0]
    low_rows, low_columns, rows, columns = grid.tolist()
    told: dict[str, Any] = {}
    if sight.base.origin is not None:
        told = read_json(sight.base.origin.source, "processor_config.json")
    ends = told.get("image_use_col_tokens", True)
    low_ends = told.get("use_single_crop_col_tokens")
    if low_ends is None:
        low_ends = ends
    opened = "<im_start>"
    if told.get("use_single_crop_start_token", True):
        opened = "<low_res_im_start>"
    low = _molmo_row(sight.token, low_columns, low_ends) * low_rows
    high = _molmo_row(sight.token, columns, ends) * rows
    return f"{opened}{low}<im_end><im_start>{high}<im_end>", _in_a_row([tokens])


def _molmo_row(token: str, columns: int, ends: bool) -> str:
    if ends:
        return token * columns + "<im_col>"
    return token * columns


def _in_a_row(parts: Sequence[Tensor]) -> Visual:
    """Tokens of several pieces, which are on no common grid."""
    tokens = torch.cat(list(parts))
    return Visual(tokens, Layout(1, 1, tokens.shape[0]))


_QWEN = Way(_qwen, inputs=("image_grid_thw",))
WAYS: Mapping[str, Way] = {
    "gemma4": Way(_gemma),
    # Its places are those of clips too, and its forward cannot tell them apart.
    "glm4v": Way(_glm, inputs=("image_grid_thw",), beside_clips=False),
    "internvl": Way(_internvl, {"crop_to_patches": True}),
    "llava_next_video": Way(_llava),
    "llava_onevision": Way(_llava, closely_alone=True),
    "minicpm_v": Way(_minicpm, inputs=("target_sizes",)),
    # One token stands for both.
    "molmo2": Way(_molmo, beside_clips=False, written="<|image|>", marks=MOLMO_MARKS),
    "perception_lm": Way(_tiles),
    "qwen2_5_omni": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen2_vl": _QWEN,
    "qwen3_5": _QWEN,
    "qwen3_omni": _QWEN,
    "qwen3_vl": _QWEN,
    # Its processor takes one or the other.
    "smolvlm": Way(_smolvlm, {"return_row_col_info": True}, beside_clips=False),
    "video_llama_3": Way(_video_llama_3),
}
"""Family -> its way to see a picture; the others are refused."""
