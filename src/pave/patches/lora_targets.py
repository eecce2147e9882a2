"""Which modules get a LoRA: the pattern that peft matches, and whether a target can take one.

Targets are a regular expression anchored at the language model, because the usual list of names
(`["q_proj", "v_proj"]`) hits SigLIP, CLIP and InternViT towers too.
"""

from __future__ import annotations

import difflib
import logging
import re
import warnings

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from pave import hf_compat
from pave.bases.family import Family
from pave.errors import PatchError
from pave.patches.config import LoraSpec
from pave.seeds import seeded

logger = logging.getLogger(__name__)


def lora_config(spec: LoraSpec, family: Family, base_name: str = "") -> LoraConfig:
    """The peft config of a LoRA, with targets that can only match inside the language model.

    Args:
        spec: Rank, alpha, dropout, targets.
        family: Names the language model and its default targets.
        base_name: Written into the adapter, for people and tools that read it.
    """
    targets = "|".join(spec.targets or family.lora_targets)
    towers = None
    # Of these models peft makes the pattern endings of names, which fit in a tower too.
    if hf_compat.expert_targets(family.config):
        towers = rf"model\.(?!{family.language_model}\.).*"
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        # A string is matched against the whole name: nothing in a tower fits.
        target_modules=rf"model\.{family.language_model}\..*\.({targets})",
        exclude_modules=towers,
        bias="none",  # biases are the base's own, which stays as it is
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        rank_pattern=dict(spec.rank_pattern),
        alpha_pattern=dict(spec.alpha_pattern),
        init_lora_weights=spec.init_lora_weights,
        base_model_name_or_path=base_name or None,
    )


def lora_shapes(model: nn.Module, spec: LoraSpec, family: Family) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of every module that a LoRA would adapt; shapes are enough."""
    # The pattern that peft itself will match, so that both agree.
    wanted = re.compile(str(lora_config(spec, family).target_modules))
    shapes = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and wanted.fullmatch(name):
            shapes.append((name, module.in_features, module.out_features))
    return shapes


def check_targets(model: nn.Module, spec: LoraSpec, family: Family) -> None:
    """Find out whether a LoRA can be put on a model, beside those that are on it already.

    What takes a LoRA is peft's to say: it is asked once for each kind of layer, quantised ones
    included.

    Raises:
        PatchError: If no module of the language model has one of the targets' names, or one that
            has takes no LoRA.
    """
    wanted = re.compile(str(lora_config(spec, family).target_modules))
    usual = ", ".join(family.lora_targets)
    taken = hf_compat.expert_targets(family.config) & {*(spec.targets or family.lora_targets)}
    if taken:
        raise PatchError(
            f"in this model, peft treats {', '.join(sorted(taken))} as experts, which pave's "
            f"LoRA does not reach; choose other LoRA targets, such as {usual}"
        )
    kinds: dict[tuple[type, ...], tuple[str, nn.Module]] = {}  # one of each kind of layer
    for path, module in model.named_modules():
        if not wanted.fullmatch(path):
            continue
        layer = module
        if isinstance(module, LoraLayer):  # another patch's LoRA is on it already
            layer = module.get_base_layer()
        kind = (type(layer), type(getattr(layer, "weight", None)))
        kinds.setdefault(kind, (path, layer))
    if not kinds:
        names = ", ".join(spec.targets or family.lora_targets)
        raise PatchError(
            f"no module of the language model is called {names}; choose other LoRA targets, such "
            f"as {usual}"
        )
    for path, layer in kinds.values():
        if why := _why_no_lora(layer):
            raise PatchError(
                f"{path} is a {type(layer).__name__}, which cannot have a LoRA ({why}); choose "
                f"linear layers as LoRA targets, such as {usual}"
            )


def check_names(model: nn.Module, spec: LoraSpec, family: Family) -> None:
    """Find out whether every target of a new LoRA is there: a misspelt one would be left out.

    Of the family's own targets those that the model lacks are left out with a logged note.

    Raises:
        PatchError: If a target that was asked for is no module of the language model, or a pattern
            fits none of those that get a LoRA; the message says what may have been meant.
    """
    _check_patterns(model, spec, family)
    # Only there: towers have layers of the same names.
    language = f"model.{family.language_model}."
    modules = set()
    for path, _ in model.named_modules():
        if language in path:
            modules.add(path.rpartition(".")[2])  # an ending, as targets are
    lacking = [name for name in spec.targets or family.lora_targets if name not in modules]
    # Experts of a mixture are one tensor for all of them, and no modules.
    for path, _ in model.named_parameters():
        owner, _, name = path.rpartition(".")
        if language in path and owner.endswith("experts"):
            where = f"{owner.removeprefix(language)}.{name}"
            why = f"; this model's experts are tensors such as {where}, which LoRA does not reach"
            break
    else:
        why = ""
    if not lacking:
        if why and spec.targets is None:
            logger.warning("LoRA adapts %s%s", ", ".join(family.lora_targets), why)
        return
    if spec.targets is None:
        logger.warning(
            "this model has no %s, so the LoRA leaves them out%s", ", ".join(lacking), why
        )
        return
    # Small and capital letters are what people mix up, too.
    near = difflib.get_close_matches(lacking[0].lower(), sorted(modules), n=1)
    if near:  # a slip of the pen, whatever else this model lacks
        why = f"; did you mean {near[0]}?"
    raise PatchError(
        f"no module of the language model is called {lacking[0]}{why}; choose other LoRA "
        f"targets, such as {', '.join(family.lora_targets)}"
    )


def _check_patterns(model: nn.Module, spec: LoraSpec, family: Family) -> None:
    """A pattern that fits no module would be left out without a word."""
    if not spec.rank_pattern and not spec.alpha_pattern:
        return
    wanted = re.compile(str(lora_config(spec, family).target_modules))
    names = [path for path, _ in model.named_modules() if wanted.fullmatch(path)]
    for key in (*spec.rank_pattern, *spec.alpha_pattern):
        # As peft matches it.
        fitting = re.compile(rf"(.*\.)?({key})$")
        if not any(map(fitting.match, names)):
            endings = sorted({name.rpartition(".")[2] for name in names})
            raise PatchError(
                f"the pattern {key!r} matches no module that gets a LoRA; their names end in "
                f"{', '.join(endings)}"
            )


def _why_no_lora(layer: nn.Module) -> str | None:
    """What peft says against a LoRA on a layer; None where it puts one on."""
    probe = nn.ModuleDict({"layer": layer})  # the LoRA goes into this, not into the model
    config = LoraConfig(r=1, target_modules=["layer"])
    flags = [parameter.requires_grad for parameter in layer.parameters()]
    try:
        # Without numbers, and nobody's random state is touched.
        with seeded(0), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inject_adapter_in_model(config, probe, low_cpu_mem_usage=True)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return lines[0][:200]
    finally:
        for parameter, flag in zip(layer.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
    found = probe["layer"]
    # An embedding's LoRA has other parts, which no patch file has a place for.
    if isinstance(found, LoraLayer) and found.lora_A:
        return None
    return "peft has no linear LoRA for it"
