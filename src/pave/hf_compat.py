"""Every place where pave leans on what transformers, peft, accelerate or torch do not promise.

One function for each private or version-dependent fact, which says what is leaned on, why, and with
which versions it was checked. `tests/test_hf_compat.py` names each attribute, so that an upgrade
that takes one away fails there, in words, and not deep inside a run.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def lanczos_mode() -> str:
    """The resize mode closest to Lanczos: torch has it from 2.13 on, bicubic stands in before.

    Hugging Face's SmolVLM processor falls back in the same way. `torch.__version__` compares as a
    version, not letter by letter. Checked with torch 2.6 to 2.13.0.
    """
    import torch

    if torch.__version__ < "2.13":
        return "bicubic"
    return "lanczos"


def can_be_hub_id(name: str) -> bool:
    """Whether the Hub could have a repository of that name.

    `validate_repo_id` is in the `__all__` of `huggingface_hub.utils`, but type checkers do not see
    it there. Checked with the huggingface_hub of transformers 5.23.0.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return bool(name)


def hub_errors() -> tuple[type[Exception], ...]:
    """What the Hub's client raises where the Hub says no or cannot be reached.

    A broken connection comes as an error of the HTTP library below, which has changed its name; it
    is the first parent of `HfHubHTTPError`. Checked with huggingface_hub 2.4.0.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    connection: type[Exception] = HfHubHTTPError.__bases__[0]
    return (OSError, HFValidationError, connection)


def find_file(
    source: str,
    name: str,
    *,
    cached_only: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Path | None:
    """A file of a model folder or Hub id; None where it cannot be had.

    `transformers.utils.cached_file` raises unless two private arguments say otherwise. Checked with
    transformers 5.23.0.

    Args:
        source: Folder or Hub id.
        name: The file.
        cached_only: Never ask the Hub.
        revision: Of a Hub id.
        token: To read it with.
    """
    from transformers.utils import cached_file

    found = cached_file(
        source,
        name,
        local_files_only=cached_only,
        revision=revision,
        token=token,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if not found:
        return None
    return Path(found)


def find_revision(source: str, revision: str | None, token: str | bool | None) -> str | None:
    """A revision of a Hub id that knows its commit, so that all files are read from that one.

    It is `transformers.utils.hub.resolve_revision`, whose `ResolvedRevision` is still the word that
    was asked for; where neither Hub nor cache tell, the word comes back as it is. Checked with
    transformers 5.23.0.
    """
    from transformers.utils.hub import resolve_revision

    # It raises nothing: what cannot be found is told by whoever reads the first file.
    found: str | None = resolve_revision(source, revision, token=token)
    return found


def commit_of(revision: str | None) -> str | None:
    """The commit of a revision of `find_revision`: `ResolvedRevision.resolved`.

    A word of 40 hexadecimal digits is its own commit. Checked with transformers 5.23.0.
    """
    # A plain word has no such attribute; git's names of commits have 40 digits.
    found = getattr(revision, "resolved", revision)
    if found is None or not re.fullmatch("[0-9a-f]{40}", found):
        return None
    return str(found)


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


def deepstack_output(**fields: Any) -> Any:
    """What Qwen3-VL's tower returns: `BaseModelOutputWithDeepstackFeatures`.

    transformers keeps it in the model's own module. Checked with transformers 5.23.0.
    """
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    return BaseModelOutputWithDeepstackFeatures(**fields)


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


def change_counters(tensors: Iterable[Tensor]) -> list[int]:
    """How often each tensor was changed in place: `Tensor._version`.

    Tensors made in inference mode count nothing and give 0. Checked with torch 2.13.0.
    """
    counters = []
    for tensor in tensors:
        changes = 0
        if not tensor.is_inference():
            changes = int(tensor._version)
        counters.append(changes)
    return counters


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds its own numbers; one of torchao or quanto wraps others.

    Those have torch's method `__tensor_flatten__`. Checked with torch 2.13.0 and torchao 0.18.
    """
    import torch

    inner = tensor.data  # a parameter's own class says nothing
    return type(inner) is torch.Tensor or not hasattr(inner, "__tensor_flatten__")


def keep_quantised_weights(model: nn.Module) -> None:
    """Let 4-bit layers of bitsandbytes on a CPU keep the weights that they were loaded with.

    On processors with AVX512-BF16 their first forward pass without gradients packs the weights
    anew, with scales rounded to bfloat16, for a kernel that is fetched from the Hub: another base
    than before, for good. They look at `Linear4bit.support_avx512bf16_for_cpu`. Checked with
    bitsandbytes 0.50.2.
    """
    for module in model.modules():
        layer: Any = module
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def reads_beyond_rows(layer: nn.Module) -> bool:
    """Whether a layer of quanto would be multiplied wrongly on a CPU, or end the process.

    Inputs in bf16 and weights in int8 go to `torch._weight_int8pack_mm`, which takes rows of a
    multiple of 32 numbers and checks nothing. quanto gives it all whose length 4 divides. Checked
    with optimum-quanto 0.2.7 and torch 2.13.0.
    """
    import torch

    weight: Any = getattr(layer, "weight", None)
    rows = getattr(weight, "_data", None)
    if not isinstance(rows, torch.Tensor) or rows.dtype != torch.int8 or rows.device.type != "cpu":
        return False
    odd = rows.shape[-1] % 4 == 0 and rows.shape[-1] % 32 != 0
    return odd and weight.dtype == torch.bfloat16


def activate_adapters(layers: Iterable[Any], names: Sequence[str]) -> None:
    """Let these adapters of peft's layers work, and no others: `BaseTunerLayer._active_adapter`.

    peft's own `set_adapter` also freezes the adapters that it switches off, or all of them; who is
    at work in one call must not change what trains. Checked with peft 0.21.2.
    """
    for layer in layers:
        layer._active_adapter = list(names)  # a copy: the caller goes on using its own


def adapter_in_float32(model: nn.Module, name: str) -> None:
    """Cast a fresh adapter of 16 bits to float32, as peft's own entry points do.

    An optimiser's small steps vanish in a half-precision LoRA. It is
    `peft.tuners.tuners_utils.cast_adapter_dtype`, which peft's front does not export. Checked with
    peft 0.21.2.
    """
    from peft.tuners.tuners_utils import cast_adapter_dtype

    cast_adapter_dtype(model, adapter_name=name)


def expert_targets(config: Any) -> frozenset[str]:
    """LoRA targets that peft takes for a mixture's experts, by the config of its model.

    Adapters of older versions name the experts' linear layers, which are single tensors now; for
    some model types peft changes what an adapter targets to these tensors, and any pattern to plain
    endings of names. It is `_MOE_TARGET_MODULE_MAPPING` of peft, by transformers'
    `_MODEL_TO_CONVERSION_PATTERN`. Checked with peft 0.21.2 and transformers 5.23.0.
    """
    from peft.utils import transformers_weight_conversion as conversion

    # Imported there from transformers.
    kinds = conversion._MODEL_TO_CONVERSION_PATTERN
    kind = kinds.get(getattr(config, "model_type", None))
    return frozenset(conversion._MOE_TARGET_MODULE_MAPPING.get(kind, ()))


def adapters_on(model: nn.Module) -> dict[str, str]:
    """Adapters of peft in a model: path and part of a layer -> an adapter's name.

    Every layer that peft puts in derives from `peft.tuners.tuners_utils.BaseTunerLayer` or, for
    modules that are trained as a whole, from `peft.utils.other.AuxiliaryTrainingWrapper`; the first
    names its parts in `adapter_layer_names`, the second in `_adapters`. Checked with peft 0.21.2.
    """
    if "peft" not in sys.modules:  # nobody can have put one there, and the import takes a second
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    found = {}
    for path, module in model.named_modules():
        # A layer that is adapted, or a copy of one that trains as a whole.
        if isinstance(module, BaseTunerLayer):
            for part in module.adapter_layer_names:
                for name in getattr(module, part, None) or ():
                    found[f"{path}.{part}.{name}"] = str(name)
        elif isinstance(module, AuxiliaryTrainingWrapper):
            for name in module._adapters:
                found[f"{path}.{name}"] = str(name)
    return found


def is_peft_model(model: Any) -> bool:
    """Whether a model is one of peft's wrappers around a model of transformers.

    There are several, of which not all put layers into the model. Checked with peft 0.21.2.
    """
    if "peft" not in sys.modules:
        return False
    from peft import PeftMixedModel, PeftModel

    return isinstance(model, PeftModel | PeftMixedModel)


def is_compiled(module: nn.Module) -> bool:
    """Whether a module runs compiled: by `torch.compile`, or by its own `compile`.

    The second leaves `Module._compiled_call_impl`, the first is a module `_orig_mod` in another.
    Checked with torch 2.13.0.
    """
    return module._compiled_call_impl is not None or "_orig_mod" in module._modules


def train_on(args: Any, device: Any) -> None:
    """Let the Trainer of a single process train on one device, and on no other beside it.

    By itself it takes the first GPU, whichever is asked for, and where there are several it wraps
    the model in `nn.DataParallel`. The device is what `TrainingArguments._setup_devices` remembers,
    the number of GPUs is `_n_gpu`. Checked with transformers 5.23.0.

    Args:
        args: `TrainingArguments`.
        device: A `torch.device`.
    """
    import torch

    found = args.device  # once, so that the process state is set up
    args._n_gpu = min(1, args.n_gpu)
    if device.type == "cuda":
        # accelerate says "cuda", which is the current one.
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    if device != found:
        args.__dict__["_setup_devices"] = device


def is_offloaded(module: nn.Module) -> bool:
    """Whether accelerate brings a module's weights for the length of a call and takes them away.

    Its hooks lie in `Module._hf_hook`, several of them in a `SequentialHook.hooks`; those that
    align devices have an attribute `offload`. Checked with accelerate 1.15.0.
    """
    hook = getattr(module, "_hf_hook", None)
    # A single hook, or several in a row.
    hooks = getattr(hook, "hooks", [hook])
    return any(getattr(one, "offload", False) for one in hooks)


def enable_checkpointing(model: Any, kwargs: dict[str, Any], **options: Any) -> None:
    """Have a Hugging Face model compute activations again in the backward pass.

    The method was called `gradient_checkpointing_enable` before transformers 5.2x. Checked with
    transformers 5.18 and 5.23.0.
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    if enable is None:
        enable = model.gradient_checkpointing_enable
    enable(kwargs, **options)


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


TRAINER_HOOKS = (
    "_move_model_to_device",
    "_sync_replicated_trainable_parameters",
    "_get_train_sampler",
    "_get_output_dir",
    "_save_checkpoint",
    "_save",
    "_load_from_checkpoint",
)
"""Methods of `transformers.Trainer` that `pave.train.trainer.PatchTrainer` overrides.

They decide in which order samples come, where a checkpoint is written, what of the model is in it,
and how it comes back. The Trainer has no public way to say these. Checked with transformers 5.23.0.
"""

TRAINER_STATE = "trainer_state.json"
"""File in which the Trainer keeps `global_step`. Checked with transformers 5.23.0."""


def checkpoint_files(processes: int) -> list[str]:
    """What the Trainer writes into a checkpoint beside the weights, for so many processes.

    Checked with transformers 5.23.0.
    """
    if processes == 1:
        chances = ["rng_state.pth"]
    else:
        # The state of the random numbers, one file a process.
        chances = [f"rng_state_{rank}.pth" for rank in range(processes)]
    return ["optimizer.pt", "scheduler.pt", *chances]


def is_write_failure(error: RuntimeError) -> bool:
    """Whether `torch.save` failed to write, on a full disk for example.

    It raises a bare RuntimeError that keeps the system's reason to itself; only the names of its
    writer in the text tell. Checked with torch 2.13.0.
    """
    text = str(error)
    return "inline_container" in text or "PytorchStreamWriter" in text


def is_lost_process(error: RuntimeError) -> bool:
    """Whether an exchange between processes failed because one of them has gone.

    gloo raises a bare RuntimeError; its name or the system's words in the text tell. Checked with
    torch 2.13.0.
    """
    from torch import distributed

    if isinstance(error, distributed.DistError):
        return True
    marks = r"gloo|NCCL|Connection (closed|reset) by peer"
    return re.search(marks, str(error)) is not None


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


def mkl_leaves_avx512_alone() -> bool:
    """Whether this processor has AVX-512 and MKL does not use it: one that is not Intel's.

    `torch.cpu.get_capabilities` is newer than the oldest torch that pave takes. Checked with torch
    2.13.0.
    """
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:  # none can tell: MKL's own choice stands
        return False
    found = ask()
    return bool(found.get("avx512_f")) and "Intel" not in str(found.get("cpu_name", "Intel"))


def has_bf16_units() -> bool:
    """Whether this processor has units for bfloat16 products: AVX512-BF16 or AMX.

    `torch.cpu.get_capabilities` is newer than the oldest torch that pave takes. Checked with torch
    2.13.0.
    """
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:
        return False
    found = ask()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map of `[N, in]` by oneDNN: `torch.ops.mkldnn._linear_pointwise`.

    It is what `torch.compile` emits, oneDNN's product without copies;
    where it is missing, the public way through oneDNN's layout gives the same to the bit. Checked
    with torch 2.13.0.
    """
    import torch

    direct = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if direct is None:
        return torch.nn.functional.linear(x.to_mkldnn(), weight, bias).to_dense()
    out: Tensor = direct(x, weight, bias, "none", [], "")
    return out


def onednn_linear_gradients(
    x: Tensor, grad: Tensor, weight: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of input, weight and bias: `torch.ops.aten.mkldnn_linear_backward`.

    Checked with torch 2.13.0.
    """
    import torch

    inner, outer, bias = torch.ops.aten.mkldnn_linear_backward(
        x.to_mkldnn(), grad.to_mkldnn(), weight, list(wanted)
    )
    if not wanted[0]:  # what comes back is undefined then, and cannot be made dense
        return None, outer, bias
    return inner.to_dense(), outer, bias


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether something hooks into a module's forward: `Module._forward_hooks`.

    Checked with torch 2.13.0.
    """
    return bool(module._forward_hooks)
