"""Pictures in a talk: the pixels, the text and the answer of plain transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision import processing_llava_onevision as onevision
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

import pave
from helpers import tiny, tiny_patch
from pave.answer import Sampling
from pave.errors import BaseError, MediaError
from pave.model import PatchedModel

SHORT = Sampling(6)
FILM = tiny.frames(4)
RNG = np.random.default_rng(0)
WIDE, TALL = (RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 130, 3), (90, 50, 3)))
PINPOINTS = [[42, 42], [42, 84], [84, 42], [84, 84]]
PROCESSORS: dict[str, Any] = {
    "internvl": GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, max_patches=4),
    "llava_onevision": LlavaOnevisionImageProcessorPil(
        size={"height": 42, "width": 42}, image_grid_pinpoints=PINPOINTS
    ),
    "qwen2_5_vl": Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=20 * 28 * 28),
    "qwen3_vl": Qwen2VLImageProcessorPil(
        patch_size=16, min_pixels=32 * 32, max_pixels=20 * 32 * 32
    ),
    "qwen2_5_omni_thinker": Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=20 * 28 * 28),
    "qwen3_5": Qwen2VLImageProcessorPil(patch_size=16, min_pixels=32 * 32, max_pixels=20 * 32 * 32),
    "qwen3_omni_moe_thinker": Qwen2VLImageProcessorPil(
        patch_size=16, min_pixels=32 * 32, max_pixels=20 * 32 * 32
    ),
    "glm4v": Glm4vImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 40 * 28 * 28}),
    "smolvlm": SmolVLMImageProcessorPil(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
    ),
}
# What the families' own processors ask of their image processors.
OPTIONS = {"internvl": {"crop_to_patches": True}, "smolvlm": {"return_row_col_info": True}}
WRITTEN = {
    "internvl": "<|im_start|>user\n{0}\n{1}What?<|im_end|>\n<|im_start|>assistant\n",
    "llava_onevision": "<|im_start|>user {0}{1}\nWhat?<|im_end|><|im_start|>assistant\n",
    "qwen2_5_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "{0}{1}What?<|im_end|>\n<|im_start|>assistant\n",
    "qwen3_vl": "<|im_start|>user\n{0}{1}What?<|im_end|>\n<|im_start|>assistant\n",
    "qwen3_omni_moe_thinker": "<|im_start|>user\n{0}{1}What?<|im_end|>\n<|im_start|>assistant\n",
    "qwen2_5_omni_thinker": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{0}{1}What?<|im_end|>\n<|im_start|>assistant\n",
    "qwen3_5": "<|im_start|>user\n{0}{1}What?<|im_end|>\n<|im_start|>assistant\n"
    "<think>\n\n</think>\n\n",
    "glm4v": "[gMASK]<sop><|user|>\n{0}{1}What?<|assistant|>\n",
    "smolvlm": "<|im_start|>User:{0}{1}What?<end_of_utterance>\nAssistant:",
}


def spelt(ids: Sequence[int]) -> str:
    """An answer as ids: the text of random bytes is mostly U+FFFD."""
    return " ".join(map(str, ids))


@pytest.fixture(scope="module", params=sorted(PROCESSORS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PatchedModel:
    """From a folder, which says how pictures are prepared."""
    folder = tmp_path_factory.mktemp(request.param)
    made = tiny.base(request.param)
    made.config.image_grid_pinpoints = PINPOINTS
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    PROCESSORS[request.param].save_pretrained(folder)
    patched = PatchedModel(pave.load_base(folder, settings=made.settings))
    tiny_patch.add(patched)
    patched.base.decode = spelt
    return patched


def texts(base: Any, given: Any) -> list[str]:
    """What transformers writes for each picture."""
    family = base.family.name
    if family == "internvl":
        return [f"<img>{'<IMG_CONTEXT>' * 4 * int(tiles)}</img>" for tiles in given["num_patches"]]
    if family == "smolvlm":
        words = ("<fake_token_around_image>", "<image>", "<global-img>")
        pairs = zip(given["rows"][0], given["cols"][0], strict=True)
        return [get_image_prompt_string(rows, cols, 4, *words) for rows, cols in pairs]
    if family == "llava_onevision":
        like = SimpleNamespace(
            num_image_tokens=9,
            vision_aspect_ratio="anyres_max_9",
            vision_feature_select_strategy="full",
            image_token="<image>",
            image_processor=SimpleNamespace(image_grid_pinpoints=PINPOINTS),
        )
        own = onevision.LlavaOnevisionProcessor
        for name in ("_get_number_of_features", "_get_unpadded_features"):
            setattr(like, name, getattr(own, name).__get__(like))
        count = len(given["image_sizes"])
        return [own.replace_image_token(like, given, number) for number in range(count)]
    counts = given["image_grid_thw"].prod(-1) // 4
    if family == "glm4v":
        return [f"<|begin_of_image|>{'<|image|>' * int(n)}<|end_of_image|>" for n in counts]
    if family == "qwen2_5_omni":
        return [f"<|vision_bos|>{'<|IMAGE|>' * int(n)}<|vision_eos|>" for n in counts]
    return [f"<|vision_start|>{'<|image_pad|>' * int(n)}<|vision_end|>" for n in counts]


def plain(model: PatchedModel, images: list[Any], film: str = "", **more: Any) -> str:
    """Plain transformers: its processor's pixels, its text, greedy."""
    base = model.base
    family = base.config.model_type
    options = OPTIONS.get(family, {})
    if family == "llava_onevision":
        # Nested: the pictures of one prompt.
        images = [images]
    given = PROCESSORS[family](images=images, return_tensors="pt", **options)
    shots = "\n".join(texts(base, given)) if family == "internvl" else "".join(texts(base, given))
    text = WRITTEN[family].format(shots, film)
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    known = {"pixel_values", "image_grid_thw", "image_sizes", "batch_num_images"}
    inputs = {**base.batch([ids]), **{key: given[key] for key in known & given.keys()}, **more}
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with model.disable_patches():
        out = base.model.generate(**inputs, **settings, eos_token_id=base.stop_ids)
    out = out[0, len(ids) :].tolist()
    end = next((i for i, token in enumerate(out) if token in base.stop_ids), len(out))
    return spelt(out[:end])


def talk(*media: tuple[str, Any]) -> list[dict[str, Any]]:
    parts = [{"type": kind, kind: medium} for kind, medium in media]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]}]


@pytest.mark.parametrize("images", [[WIDE], [TALL], [WIDE, TALL]], ids=["wide", "tall", "both"])
def test_pictures_are_seen_as_by_transformers(model: PatchedModel, images: list[Any]) -> None:
    wanted = plain(model, images)
    said = talk(*(("image", image) for image in images))
    assert model.chat(said, sampling=SHORT) == wanted
    # In a talk, and torch's order of axes.
    conversation = pave.Conversation(model, SHORT)
    channels_first = torch.from_numpy(images[0]).permute(2, 0, 1)
    if len(images) == 1:
        assert conversation.say("What?", image=channels_first) == wanted
        assert conversation.say("Why?")


def test_a_picture_beside_a_clip(model: PatchedModel) -> None:
    base = model.base
    said = talk(("image", WIDE), ("video", FILM))
    clip = base.clip(FILM)
    if base.family.name in ("smolvlm", "glm4v"):
        with pytest.raises(BaseError, match="clips or pictures, not both"):
            model.chat(said, sampling=SHORT)
        return
    more = dict(clip.pixels)
    after = ""
    if base.family.name == "internvl":
        # One list of tiles and frames.
        given = PROCESSORS["internvl"](images=[WIDE], return_tensors="pt", crop_to_patches=True)
        more["pixel_values"] = torch.cat([given["pixel_values"], clip.pixels["pixel_values"]])
        after = "\n"
    wanted = plain(model, [WIDE], clip.text + after, **more)
    with model.disable_patches():
        assert model.chat(said, sampling=SHORT) == wanted
    # The clip's channel changes the answer, and only through the clip.
    said[0]["content"][1]["channels"] = {"audio": tiny_patch.tokens(4)}
    assert model.chat(said, sampling=SHORT) != wanted


def test_files_and_pillow(model: PatchedModel, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image").fromarray(WIDE)
    image.save(tmp_path / "wide.png")
    wanted = model.chat(talk(("image", WIDE)), sampling=SHORT)
    for picture in (image, image.convert("RGBA"), tmp_path / "wide.png"):
        assert model.chat(talk(("image", picture)), sampling=SHORT) == wanted


@pytest.mark.parametrize(
    "odd", [3, WIDE.astype(np.float32), WIDE[..., 0], WIDE[None], "nothing.png", WIDE[:0]]
)
def test_what_is_no_picture(model: PatchedModel, odd: Any) -> None:
    with pytest.raises(MediaError):
        model.chat(talk(("image", odd)), sampling=SHORT)


def test_who_takes_no_pictures_says_so() -> None:
    for family, told in (
        ("llava_next_video", "does not know how llava_next_video sees a single picture"),
        ("qwen2_vl", "are in the model's folder; load the base from a folder"),
    ):
        with pytest.raises(BaseError, match=told):
            PatchedModel(tiny.base(family)).chat(talk(("image", WIDE)))
