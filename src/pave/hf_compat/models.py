"""Models of transformers: how they are filled, what their towers return, how they attend."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
"""Of a layer, within the name of a weight."""
# Parts that no other layer has than one that predicts the token after the next (DeepSeek-V3 and
# its successors, GLM-4.5V among them); files number these on behind the model's own layers.
_PREDICTS_FURTHER = {"eh_proj", "enorm", "hnorm", "shared_head"}


def expect_no_weights_of(model: Any, parts: Sequence[str]) -> None:
    """Let a model whose parts were taken off be filled by `from_pretrained` without complaint.

    Called between the model's `__init__` and the reading of weights. Leans on two attributes of
    `PreTrainedModel`: `all_tied_weights_keys` (target -> source; a head that shares the embedding's
    weights goes with them) and `_keys_to_ignore_on_load_unexpected` (regular expressions). Checked
    with transformers 5.23.0.

    Args:
        model: The model, without the parts.
        parts: Their names.
    """
    # With duplicates: of two names of one tensor the other would be missing, and its tie with it.
    left = dict(model.named_parameters(remove_duplicate=False))
    tied = model.all_tied_weights_keys.items()
    model.all_tied_weights_keys = {
        target: source for target, source in tied if target in left and source in left
    }
    ignored = set(model._keys_to_ignore_on_load_unexpected or ())
    # Anywhere in a name: files of older versions put other prefixes in front.
    ignored |= {rf"(^|\.){re.escape(part)}\." for part in parts}
    model._keys_to_ignore_on_load_unexpected = ignored


def unfilled(report: Mapping[str, Any]) -> list[str]:
    """Names of the weights that a checkpoint did not fill: missing, or of another shape.

    transformers draws random numbers for them, and only logs it. Keys that are too many do no harm:
    published folders often hold an old buffer or two. Checked with transformers 5.23.0.

    Args:
        report: What `from_pretrained` gives with `output_loading_info`; without
            `ignore_mismatched_sizes` it raises an error at another shape, which names none.
    """
    found = list(map(str, report["missing_keys"]))
    # Names with two shapes.
    for name, there, wanted in report["mismatched_keys"]:
        found.append(f"{name} ({list(there)} in the files, {list(wanted)} by the configuration)")
    return sorted(found)


def further_layers(model: Any, report: Mapping[str, Any]) -> list[str]:
    """Names of weights for more layers than a model has, which its files hold.

    The configuration asks for fewer, and a shorter network answers otherwise. transformers reports
    them among keys that are too many; what a folder may hold besides (buffers of old versions, a
    tower that is not wanted, layers that predict further tokens) is in no stack of the model's, or
    is told by its names. Checked with transformers 5.23.0.

    Args:
        model: The model.
        report: What `from_pretrained` gives with `output_loading_info`.
    """
    from torch import nn

    stacks = {}  # name -> number of layers
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            stacks[name] = len(module)
    layers = {}  # name of a weight -> its layer
    predicting = set()
    for key in map(str, report["unexpected_keys"]):
        layer = _layer_beyond(key, stacks)
        if not layer:
            continue
        layers[key] = layer
        # Its first part: "enorm" of "layers.46.enorm.weight".
        rest = key.removeprefix(layer)
        if rest.split(".")[1] in _PREDICTS_FURTHER:
            predicting.add(layer)
    return sorted(key for key, layer in layers.items() if layer not in predicting)


def _layer_beyond(key: str, stacks: Mapping[str, int]) -> str:
    """The layer behind a stack's last one to which a weight belongs; empty if it does to none."""
    for number in _NUMBER.finditer(key):
        stack = key[: number.start() - 1]
        # Files of a larger model have a prefix in front.
        while stack not in stacks and "." in stack:
            _, _, stack = stack.partition(".")
        length = stacks.get(stack)
        if length is not None and int(number[0]) >= length:
            return key[: number.end()]
    return ""


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Load and save without the progress bars of transformers and of its reader of GGUF.

    The bars of transformers are switched off by its own functions. Its reader of GGUF draws one
    that nothing switches off, the `tqdm` of `transformers.modeling_gguf_pytorch_utils`. Checked
    with transformers 5.23.0.
    """
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging

    shown, tqdm = logging.is_progress_bar_enabled(), gguf.tqdm
    logging.disable_progress_bar()
    gguf.tqdm = lambda things, **_: things
    try:
        yield
    finally:
        gguf.tqdm = tqdm
        if shown:
            logging.enable_progress_bar()


def deepstack_output(**fields: Any) -> Any:
    """What Qwen3-VL's tower returns: `BaseModelOutputWithDeepstackFeatures`.

    transformers keeps it in the model's own module. Checked with transformers 5.23.0.
    """
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    return BaseModelOutputWithDeepstackFeatures(**fields)


@contextlib.contextmanager
def beams_count_images(config: Any) -> Iterator[None]:
    """Let `generate` find the videos of GLM-4V's prompts, whose places are held by image tokens.

    Its `_expand_multimodal_outputs`, which repeats visual tokens for beams and samples, counts
    tokens of `video_token_id`, of which there are none, and is left with no visual tokens at all.
    Nothing else of the model's forward and `generate` reads that id. Checked with transformers
    5.23.0.

    Args:
        config: Of the model; as before afterwards.
    """
    own = config.video_token_id
    # The caller holds the model's lock, so nobody sees the other id.
    config.video_token_id = config.image_token_id
    try:
        yield
    finally:
        config.video_token_id = own


def attention_implementation(config: Any) -> str:
    """What a model of this configuration attends with: `PretrainedConfig._attn_implementation`.

    Checked with transformers 5.23.0.
    """
    return str(getattr(config, "_attn_implementation", "sdpa"))


def set_attention_implementation(config: Any, name: str) -> None:
    """Let a model of this configuration attend so: `PretrainedConfig._attn_implementation`.

    Set where its layers look it up, not by `set_attn_implementation`: that refuses families for
    which transformers has not declared FlexAttention, though it works in them. Checked with
    transformers 5.23.0.
    """
    config._attn_implementation = name


@contextlib.contextmanager
def attention_told(config: Any, listen: Callable[..., None]) -> Iterator[None]:
    """For the time of the context, say what each attention layer of a model attends with.

    A function under a name of its own takes the place of PyTorch's fused attention, or of
    FlashAttention where the model has that. Leans on `_global_mapping` of `AttentionInterface` and
    of `AttentionMaskInterface`, from which the name is taken again; `register`, which puts it
    there, is public. Checked with transformers 5.23.0.

    Args:
        config: Of the language model.
        listen: Called in each layer with its keys and values `[B, H, L, d]` as they are attended
            (rotated), its output `[B, L, heads, d]`, and a function that computes the output from
            other keys and values.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    own = attention_implementation(config)
    kind = own
    # Eager attention is the same sum, and so is FlexAttention here, where nothing is packed.
    if "flash" not in own:
        kind = "sdpa"
    forward = AttentionInterface()[kind]

    def told(module: Any, query: Any, key: Any, value: Any, mask: Any, **more: Any) -> Any:
        def attend(keys: Any, values: Any) -> Any:
            output, _ = forward(
                module,
                query,
                keys,
                values,
                mask,
                **more,
            )
            return output

        output = attend(key, value)
        listen(key, value, output, attend)
        return output, None

    name = f"{kind}_told"
    AttentionInterface.register(name, told)
    AttentionMaskInterface.register(name, AttentionMaskInterface()[kind])
    set_attention_implementation(config, name)
    try:
        yield
    finally:
        set_attention_implementation(config, own)
        del AttentionInterface._global_mapping[name]
        del AttentionMaskInterface._global_mapping[name]


def enable_checkpointing(model: Any, kwargs: dict[str, Any], **options: Any) -> None:
    """Have a Hugging Face model compute activations again in the backward pass.

    The method was called `gradient_checkpointing_enable` before transformers 5.2x. Checked with
    transformers 5.18 and 5.23.0.
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    if enable is None:
        enable = model.gradient_checkpointing_enable
    enable(kwargs, **options)
