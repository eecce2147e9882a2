"""Pictures in a talk: the pixels, the text and the answer of plain transformers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.gemma4 import processing_gemma4 as gemma
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.gemma4_unified import processing_gemma4_unified as unified
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.llava_next_video import processing_llava_next_video as next_video
from transformers.models.llava_onevision import processing_llava_onevision as onevision
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.minicpmv4_6 import processing_minicpmv4_6 as minicpm
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import (
    MiniCPMV4_6ImageProcessorPil,
)
from transformers.models.molmo2 import processing_molmo2 as molmo2
from transformers.models.perception_lm import processing_perception_lm as perception
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string
from transformers.models.video_llama_3 import processing_video_llama_3 as video_llama
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import (
    VideoLlama3ImageProcessorPil,
)

import pave
from helpers import tiny, tiny_patch
from pave.answer import Sampling
from pave.bases import pictures
from pave.errors import BaseError, MediaError
from pave.model import PatchedModel

SHORT = Sampling(6)
FILM = tiny.frames(4)
RNG = np.random.default_rng(0)
WIDE, TALL = (RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 130, 3), (90, 50, 3)))
PINPOINTS = [[42, 42], [42, 84], [84, 42], [84, 84]]
SQUARES = [[56, 56], [56, 112], [112, 56]]
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
    "gemma4": Gemma4ImageProcessorPil(max_soft_tokens=70, patch_size=4, pooling_kernel_size=2),
    "llava_next_video": LlavaNextImageProcessorPil(
        size={"shortest_edge": 56},
        crop_size={"height": 56, "width": 56},
        image_grid_pinpoints=SQUARES,
    ),
    "minicpmv4_6": MiniCPMV4_6ImageProcessorPil(
        scale_resolution=48, patch_size=4, max_slice_nums=4
    ),
    "minicpmv4_7": MiniCPMV4_6ImageProcessorPil(
        scale_resolution=48, patch_size=4, max_slice_nums=4, use_image_id=False
    ),
    "video_llama_3": VideoLlama3ImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": 40 * 14 * 14}
    ),
}
# What their chat formats write between pictures, and behind a clip.
BETWEEN = {"internvl": "\n", "llava_next_video": "\n", "video_llama_3": "\n", "gemma4": "\n\n\n\n"}
AFTER_CLIP = {"internvl": "\n", "llava_next_video": "\n", "video_llama_3": "\n"}
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
    "gemma4": "<bos><|turn>user\n\n\n{0}{1}\n\nWhat?<turn|>\n<|turn>model\n",
    "llava_next_video": "USER: {0}\n{1}What? ASSISTANT:",
    "minicpmv4_6": "<|im_start|>user\n{0}{1}What?<|im_end|>\n<|im_start|>assistant\n"
    "<think>\n\n</think>\n\n",
    "minicpmv4_7": "<|im_start|>user\n{0}{1}What?<|im_end|>\n<|im_start|>assistant\n"
    "<think>\n\n</think>\n\n",
    "video_llama_3": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{0}\n{1}What?<|im_end|>\n<|im_start|>assistant\n",
    "smolvlm": "<|im_start|>User:{0}{1}What?<end_of_utterance>\nAssistant:",
}


def spelt(ids: Sequence[int]) -> str:
    """An answer as ids: the text of random bytes is mostly U+FFFD."""
    return " ".join(map(str, ids))


# The layers of MiniCPM's language model are slow on a CPU.
SLOW = ("minicpmv4_6", "minicpmv4_7")
PARAMS = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in sorted(PROCESSORS)
]


@pytest.fixture(scope="module", params=PARAMS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PatchedModel:
    """From a folder, which says how pictures are prepared."""
    folder = tmp_path_factory.mktemp(request.param)
    made = tiny.base(request.param)
    made.config.image_grid_pinpoints = PINPOINTS if "one" in request.param else SQUARES
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    PROCESSORS[request.param].save_pretrained(folder)
    patched = PatchedModel(pave.load_base(folder, settings=made.settings))
    tiny_patch.add(patched)
    patched.base.decode = spelt
    return patched


def _like(own: Any, count: int, **facts: Any) -> Any:
    """A processor of a class as far as it writes pictures: the real ones need torchvision."""
    like = object.__new__(own)
    vars(like).update(facts, count=count)
    return like


class _Counted(minicpm.MiniCPMV4_6Processor):
    """Numbers pictures as its whole call does."""

    def replace_image_token(self, given: Any, number: int, **_: Any) -> str:
        text = super().replace_image_token(given, number, image_token_divisor=16)
        return self._prepend_local_ids(["I" * (number + 1)], ["", text][-number - 1 :], "I")[-1]


def _minicpm(given: Any) -> Any:
    names = ("image_start", "image_end", "slice_start", "slice_end", "image_id_start")
    words = ("<image>", "</image>", "<slice>", "</slice>", "<image_id>")
    marks = {f"{name}_token": word for name, word in zip(names, words, strict=True)}
    own = _Counted if given["numbered"] else _Plain
    return _like(
        own,
        len(given["grids"]),
        image_token="<|image_pad|>",
        image_id_end_token="</image_id>",
        slice_mode=True,
        **marks,
    )


class _Plain(minicpm.MiniCPMV4_6Processor):
    def replace_image_token(self, given: Any, number: int, **_: Any) -> str:
        return super().replace_image_token(given, number, image_token_divisor=16)


NAMES = {
    "molmo2": "Molmo2ImageProcessor",
    "perception_lm": "PerceptionLMImageProcessor",
    "gemma4_unified": "Gemma4UnifiedImageProcessor",
}
BY_PROCESSOR = {
    "gemma4": lambda given: _like(
        gemma.Gemma4Processor,
        len(given["pixel_values"]),
        boi_token="<|image>",
        image_token="<|image|>",
        eoi_token="<image|>",
    ),
    "llava_next_video": lambda given: _like(
        next_video.LlavaNextVideoProcessor,
        len(given["image_sizes"]),
        image_token="<image>",
        patch_size=14,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        image_processor=SimpleNamespace(image_grid_pinpoints=SQUARES),
    ),
    "minicpm_v": _minicpm,
    "video_llama_3": lambda given: _like(
        video_llama.VideoLlama3Processor,
        len(given["image_grid_thw"]),
        image_token="<|image_pad|>",
        image_processor=SimpleNamespace(merge_size=1),
    ),
}


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
    if family in BY_PROCESSOR:
        like = BY_PROCESSOR[family](given)
        return [like.replace_image_token(given, number) for number in range(like.count)]
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
    given["numbered"] = getattr(PROCESSORS[family], "use_image_id", False)
    shots = BETWEEN.get(family, "").join(texts(base, given))
    text = WRITTEN[family].format(shots, film)
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    unknown = {"num_soft_tokens_per_image", "num_patches_per_image", "grids", "numbered"}
    unknown |= {"num_patches", "rows", "cols"}
    inputs = {**base.batch([ids]), **{key: given[key] for key in given.keys() - unknown}, **more}
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
        with pytest.raises(BaseError, match="clips or pictures in one prompt, not both"):
            model.chat(said, sampling=SHORT)
        return
    more = dict(clip.pixels)
    after = AFTER_CLIP.get(base.family.name, "")
    if base.family.name == "internvl":
        # One list of tiles and frames.
        given = PROCESSORS["internvl"](images=[WIDE], return_tensors="pt", crop_to_patches=True)
        more["pixel_values"] = torch.cat([given["pixel_values"], clip.pixels["pixel_values"]])
    before = BETWEEN["gemma4"] if base.family.name == "gemma4" else ""
    wanted = plain(model, [WIDE], before + clip.text + after, **more)
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
    told = "the image settings of the model's folder; load the base from a folder"
    with pytest.raises(BaseError, match=told):
        PatchedModel(tiny.base("qwen2_vl")).chat(talk(("image", WIDE)))


def _molmo(base: Any) -> tuple[dict[str, Any], Any]:
    """Two crops of 6 x 6 patches, of which 2 x 2 are a token."""
    windows = torch.arange(36).view(3, 2, 3, 2).transpose(1, 2).reshape(9, 4)
    given = {
        "pixel_values": torch.randn(2, 36, 3 * 8 * 8),
        "image_token_pooling": torch.cat([windows, windows + 36]),
        "image_grids": torch.tensor([[3, 3, 3, 3]]),
    }
    ends = {"image_use_col_tokens": True, "use_single_crop_col_tokens": None}
    return given, _like(molmo2.Molmo2Processor, 1, use_single_crop_start_token=True, **ends)


def _perception(base: Any) -> tuple[dict[str, Any], Any]:
    """The whole picture and two tiles."""
    height, width = base.settings.size
    given = {"pixel_values": torch.randn(1, 3, 3, height, width)}
    sizes = {
        "patch_size": base.family.patch,
        "pooling_ratio": base.config.projector_pooling_ratio,
    }
    like = _like(perception.PerceptionLMProcessor, 1, image_token="<|image|>", **sizes)
    return given, like


def _unified(base: Any) -> tuple[dict[str, Any], Any]:
    """2 x 3 tokens of 8 x 8 pixels, and as many that are padding."""
    places = [[x, y] for y in range(2) for x in range(3)] + [[-1, -1]] * 6
    given = {
        "pixel_values": torch.rand(1, 12, 3 * 8 * 8),
        "image_position_ids": torch.tensor([places]),
        "num_soft_tokens_per_image": [6],
    }
    words = {"boi_token": "<|image>", "image_token": "<|image|>", "eoi_token": "<image|>"}
    return given, _like(unified.Gemma4UnifiedProcessor, 1, **words)


@pytest.mark.parametrize(
    ("family", "make"),
    [("molmo2", _molmo), ("perception_lm", _perception), ("gemma4_unified", _unified)],
)
def test_processors_that_need_torchvision(
    family: str, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the pixels, which are the folder's processor's: shapes, text, masks, the answer.

    With torchvision itself the three were equal, too (docs/reference/families.md).
    """
    made = tiny.base(family)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    model = PatchedModel(pave.load_base(tmp_path, settings=made.settings))
    base = model.base
    base.decode = spelt
    if importlib.util.find_spec("torchvision") is None:
        (tmp_path / "preprocessor_config.json").write_text(
            json.dumps({"image_processor_type": NAMES[family]})
        )
        with pytest.raises(BaseError, match=r"needs torchvision: pip install torchvision"):
            model.chat(talk(("image", WIDE)), sampling=SHORT)
    torch.manual_seed(0)
    given, like = make(base)
    monkeypatch.setattr(pictures, "_processor", lambda *_: lambda **_: dict(given))
    style = base.style
    text = style.head + like.replace_image_token(given, 0) + style.after_video + "What?" + style.ask
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    inputs = {**base.batch([ids]), **given}
    inputs.pop("num_soft_tokens_per_image", None)
    out = base.model.generate(
        **inputs, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=base.stop_ids
    )[0, len(ids) :].tolist()
    end = next((i for i, token in enumerate(out) if token in base.stop_ids), len(out))
    assert model.chat(talk(("image", WIDE)), sampling=SHORT) == spelt(out[:end])
