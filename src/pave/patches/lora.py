"""`LoraSet`: the LoRAs of all patches on one language model; `Lora` is a handle to one.

Patches use peft's own layers, so that a patch's `lora/` folder is a standard adapter:
`PeftModel.from_pretrained` on the plain base loads it. What peft leaves to its callers is done
here: targets are a regular expression anchored at the language model (the usual `["q_proj",
"v_proj"]` hits SigLIP, CLIP and InternViT towers too), trainability is a flag of each patch instead
of a side effect of activating it, and rows of one batch can be switched off one by one.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, LoraModel, inject_adapter_in_model
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pave import cpu, hf_compat
from pave.bases.family import Family
from pave.errors import PatchError
from pave.patches.config import LoraSpec

logger = logging.getLogger(__name__)

# The update is scale * B A x: A is [rank, in], random at first; B is [out, rank], zero at first.
_PARTS = ("lora_A", "lora_B")


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
            f"peft takes {', '.join(sorted(taken))} of this model for its experts, which pave's "
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
                f"{path} is a {type(layer).__name__}, which takes no LoRA ({why}); choose linear "
                f"layers as LoRA targets, such as {usual}"
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
            "the LoRA leaves out %s, which this model does not have%s", ", ".join(lacking), why
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
                f"the pattern {key!r} fits no module that gets a LoRA; their names end in "
                f"{', '.join(endings)}"
            )


def _why_no_lora(layer: nn.Module) -> str | None:
    """What peft says against a LoRA on a layer; None where it puts one on."""
    probe = nn.ModuleDict({"layer": layer})  # the LoRA goes into this, not into the model
    config = LoraConfig(r=1, target_modules=["layer"])
    flags = [parameter.requires_grad for parameter in layer.parameters()]
    try:
        # Without numbers, and nobody's random state is touched.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
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


def copy_values(source: Mapping[str, Tensor], target: Mapping[str, nn.Parameter]) -> None:
    """Put the values of tensors into parameters of the same names."""
    with torch.no_grad():
        for key, parameter in target.items():
            parameter.copy_(source[key])  # in place: peft's layers hold the parameter itself


@torch.no_grad()
def merged_weight(layer: LoraLayer, name: str) -> Tensor:
    """A layer's weights `[out, in]` with a LoRA's update in them, in fp32.

    Args:
        layer: peft's layer around a plain linear one.
        name: The LoRA.
    """
    weight: Tensor = layer.get_base_layer().weight.float()
    update = weight + layer.get_delta_weight(name).float()  # alpha / rank is in it
    if name not in layer.lora_magnitude_vector:
        return torch.as_tensor(update)
    # DoRA: every row has a length of its own.
    lengths = torch.linalg.vector_norm(update, dim=1)  # [out]
    wanted: Tensor = layer.lora_magnitude_vector[name].weight.float()
    scaled: Tensor = update * (wanted / lengths).unsqueeze(1)
    return scaled


class Lora:
    """A handle to one LoRA: its adapters in the base's layers.

    Args:
        name: What peft calls it; the patch's name.
        spec: Its shape.
        layers: Name in the plain model -> peft's layer there.

    """

    def __init__(self, name: str, spec: LoraSpec, layers: Mapping[str, LoraLayer]) -> None:
        self.name = name
        # Under the same face as `Loras`: it is on where any channel of its patch is there.
        self.names = {name: ""}
        self.spec = spec
        self.layers = dict(layers)
        self._scaled: list[RemovableHandle] = []  # of a DoRA that is turned up or down

    def parameters(self) -> dict[str, nn.Parameter]:
        """Adapter-file key -> parameter.

        A key is, for example,
        `base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight`.
        """
        found = {}
        for path, layer in self.layers.items():
            for part in _PARTS:
                adapters = getattr(layer, part)  # name of a LoRA -> its linear map
                if self.name in adapters:
                    found[f"base_model.model.{path}.{part}.weight"] = adapters[self.name].weight
            if self.name in layer.lora_magnitude_vector:  # DoRA's, [out]
                # Without `.weight`, as peft names it in its files.
                key = f"base_model.model.{path}.lora_magnitude_vector"
                found[key] = layer.lora_magnitude_vector[self.name].weight
        return found

    def set_weight(self, weight: float) -> None:
        """Scale its update; 1 restores the scale of training to the bit."""
        for hook in self._scaled:
            hook.remove()
        self._scaled = []
        for path, layer in self.layers.items():
            if self.spec.use_dora and weight != 1:
                # Its update is not linear in the scale, so what it adds is scaled as a whole.
                scaled = layer.lora_magnitude_vector[self.name]
                self._scaled.append(scaled.register_forward_hook(_Scale(weight)))
            elif not self.spec.use_dora:
                # 1.0 * scale is scale, to the bit.
                layer.scaling[self.name] = self.spec.scale_of(path) * weight

    def set_trainable(self, trainable: bool) -> None:
        """Freeze or unfreeze it, whether it is active or not."""
        for layer in self.layers.values():
            layer.set_requires_grad(self.name, trainable)

    def train(self, mode: bool) -> None:
        """Turn its dropout on or off."""
        for layer in self.layers.values():
            if self.name in layer.lora_dropout:
                layer.lora_dropout[self.name].train(mode)


class Loras:
    """The LoRAs of a patch whose channels have one each, with the face of a single one.

    Args:
        by_channel: Channel -> its LoRA.
    """

    def __init__(self, by_channel: Mapping[str, Lora]) -> None:
        self.by_channel = dict(by_channel)
        # Of each LoRA in the layers the channel without which it is off.
        self.names = {lora.name: channel for channel, lora in by_channel.items()}

    def parameters(self) -> dict[str, nn.Parameter]:
        """`<channel>/<adapter-file key>` -> parameter."""
        found = {}
        for channel, lora in self.by_channel.items():
            for key, parameter in lora.parameters().items():
                found[in_channel(channel, key)] = parameter
        return found

    def set_weight(self, weight: float) -> None:
        """Scale all updates; see `Lora.set_weight`."""
        for lora in self.by_channel.values():
            lora.set_weight(weight)

    def set_trainable(self, trainable: bool) -> None:
        """Freeze or unfreeze all."""
        for lora in self.by_channel.values():
            lora.set_trainable(trainable)

    def train(self, mode: bool) -> None:
        """Turn their dropout on or off."""
        for lora in self.by_channel.values():
            lora.train(mode)


def in_channel(channel: str, key: str) -> str:
    """The key of a tensor of a channel's LoRA; as it is of a LoRA that is everybody's.

    Example:
        >>> in_channel("audio", "base_model.x"), in_channel("", "base_model.x")
        ('audio/base_model.x', 'base_model.x')
    """
    # Keys of peft hold no slash, so this is no key of a LoRA that is everybody's.
    if channel:
        return f"{channel}/{key}"
    return key


def of_channel(tensors: Mapping[str, Tensor], channel: str) -> dict[str, Tensor]:
    """The tensors of one channel's LoRA, by the keys of its own file."""
    start = in_channel(channel, "")
    found = {}
    for key, tensor in tensors.items():
        if key.startswith(start):
            found[key.removeprefix(start)] = tensor
    return found


class LoraSet:
    """All LoRAs on one base model.

    Args:
        model: The Hugging Face model; its layers are wrapped in place when the first LoRA comes and
            unwrapped when the last one goes.
        family: Its family.
        base_name: Name of the base, written into adapters.

    Attributes:
        active: Names of the LoRAs that work, see `activate`.
        layers: peft's layers by the name that they have in the plain model.
    """

    def __init__(self, model: nn.Module, family: Family, base_name: str = "") -> None:
        self._model = model
        self._family = family
        self._base_name = base_name
        self._tuner: LoraModel | None = None
        self._names: set[str] = set()  # of the LoRAs on the model
        self.active: list[str] = []
        self.layers: dict[str, LoraLayer] = {}

    def add(self, name: str, spec: LoraSpec) -> Lora:
        """Put a fresh LoRA on the model: its update is zero, and off until `activate` names it.

        peft may leave any LoRA of the model frozen or not; set that of all of them afterwards.

        Raises:
            PatchError: If no module of the language model has one of the targets' names, or
                somebody else has put an adapter on the model.
        """
        self._only_ours()
        check_targets(self._model, spec, self._family)
        config = lora_config(spec, self._family, self._base_name)
        self._names.add(name)
        try:
            if self._tuner is None:
                # The bare tuner, not a PeftModel: the model object stays the user's own.
                self._tuner = LoraModel(self._model, {name: config}, name)
            else:
                self._tuner.peft_config[name] = config
                self._tuner.inject_adapter(self._model, name)
        except ValueError as error:
            self.remove(name)
            raise PatchError(f"peft refuses the LoRA: {error}") from error
        self._find_layers()  # a first LoRA has just wrapped them
        hf_compat.adapter_in_float32(self._model, name)
        if spec.use_dora:
            self._measure_lengths(name)
        self.activate(self.active)
        # Layers of other patches' targets do not have it.
        own = {path: layer for path, layer in self.layers.items() if name in layer.scaling}
        return Lora(name, spec, own)

    def add_all(self, patch: str, specs: Mapping[str, LoraSpec]) -> Lora | Loras | None:
        """Put a patch's LoRAs on the model, see `add`; None if it has none.

        Args:
            patch: The patch's name.
            specs: As `PatchConfig.loras` has them.
        """
        if "" in specs:
            return self.add(patch, specs[""])
        made = {}
        for channel, spec in specs.items():
            # No patch is called so, since names hold no slash.
            made[channel] = self.add(f"{patch}/{channel}", spec)
        if not made:
            return None
        return Loras(made)

    def remove_all(self, patch: str) -> None:
        """Take all LoRAs of a patch off, see `remove`."""
        self._only_ours()  # also where it has none
        for name in sorted(self._names):
            if name.partition("/")[0] == patch:
                self.remove(name)

    def remove(self, name: str) -> None:
        """Take one LoRA off; with the last one the plain layers come back.

        Raises:
            PatchError: If somebody else put an adapter on the model meanwhile; it would go, too.
        """
        self._only_ours()
        self.unmerge()  # the copies hold an update that is about to go
        self._names.discard(name)
        if self._tuner is None:
            return
        with warnings.catch_warnings():
            # peft warns that it activates another adapter; `activate` sets them right.
            warnings.simplefilter("ignore")
            if name in self._tuner.peft_config:
                self._tuner.delete_adapter(name)
        if not self._tuner.peft_config:  # that was the last one
            self._tuner.unload()
            self._tuner = None
        self._find_layers()
        self.activate([other for other in self.active if other != name])

    def _only_ours(self) -> None:
        """Refuse adapters that others put on the model since it was patched."""
        # By our own list: peft's is the model's, to which others add theirs.
        foreign = sorted(set(hf_compat.adapters_on(self._model).values()) - self._names)
        if foreign:
            raise PatchError(
                f"somebody put the adapter '{foreign[0]}' on the base while it was patched; take "
                "it off (delete_adapter), unpatch, merge it, and patch the result"
            )

    def _measure_lengths(self, name: str) -> None:
        """Take a DoRA's lengths of rows anew, now that its weights are in fp32.

        peft took them in the base's type. Computed with in fp32, a length that was rounded to bf16
        is not that of its row, and a fresh patch would not be the base.
        """
        for layer in self.layers.values():
            if name in layer.lora_magnitude_vector:
                layer.lora_magnitude_vector[name].update_layer(
                    base_layer=layer.get_base_layer(),
                    lora_A=layer.lora_A[name].weight,
                    lora_B=layer.lora_B[name].weight,
                    scaling=layer.scaling[name],
                )

    def _find_layers(self) -> None:
        """The wrapped layers by the name they have in the plain model."""
        self.layers = {}
        for path, module in self._model.named_modules():
            if isinstance(module, LoraLayer):
                self.layers[path] = module

    def activate(self, names: Sequence[str]) -> None:
        """Let exactly these LoRAs work, from now on."""
        self.active = list(names)
        hf_compat.activate_adapters(self.layers.values(), names)

    def merge(self) -> None:
        """Give the layers merged copies of their weights, see `PatchedModel.merge`.

        Raises:
            PatchError: If a layer with a LoRA at work gets none, such as a quantised one.
        """
        for path, layer in self.layers.items():
            cpu.merge(layer)
            if hasattr(layer, "merged_copy") or not layer.lora_A.keys() & set(self.active):
                continue
            self.unmerge()
            plain = layer.get_base_layer()
            why = "its weights are not fixed now: a model that trains, or made in inference mode"
            if layer.lora_variant:
                why = "DoRA scales the base's weights instead of adding to them"
            elif type(layer) is not Linear or type(plain) is not nn.Linear:
                why = f"a {type(plain).__name__}, as {type(layer).__name__}, has no plain weights"
            raise PatchError(
                f"merge() cannot fold the LoRA into {path} ({why}); use the patch unmerged, which "
                "gives the same answers"
            )

    def unmerge(self) -> None:
        """Drop the merged copies."""
        for layer in self.layers.values():
            cpu.unmerge(layer)

    @contextlib.contextmanager
    def only(self, names: Sequence[str], masks: Mapping[str, Sequence[bool]]) -> Iterator[None]:
        """For the time of the context exactly these LoRAs work, some on some rows only.

        peft's own mixed batches allow one adapter a row; patches add up, so each LoRA's inner
        activation is masked instead (ones and zeros, exact in every floating-point type): the other
        rows get an exact zero from it. Beams repeat rows in place, which the mask follows.

        Args:
            names: LoRAs that work.
            masks: For each of them that is restricted, one flag a row.
        """
        before = self.active
        for layer in self.layers.values():
            if layer.disable_adapters or layer.active_adapters != before:
                raise PatchError(
                    "somebody switched adapters on the base with peft while it was patched; "
                    "switch patches with set_patches, and take other adapters off"
                )
        handles = []  # of the masks
        # Compiled code does not look for new hooks.
        if masks and any(map(hf_compat.is_compiled, self._model.modules())):
            raise PatchError(
                "a part of the base is compiled, which cannot leave a LoRA out of single rows; "
                "give clips with and without the channel in calls of their own, or do not compile"
            )
        try:
            self.activate(names)
            for name, flags in masks.items():
                mask = _RowMask(flags)
                for layer in self.layers.values():
                    if name not in layer.lora_A:
                        continue
                    # DoRA adds one thing more than B A x: mask all that it adds.
                    part: Any = layer.lora_A[name]
                    if name in layer.lora_magnitude_vector:
                        part = layer.lora_magnitude_vector[name]
                    handles.append(part.register_forward_hook(mask))
            yield
        finally:
            # Also after an error: a mask left behind would silence rows of the next call.
            for handle in handles:
                handle.remove()
            self.activate(before)


class _Scale:
    """Forward hook that scales what a DoRA adds."""

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self._weight


class _RowMask:
    """Forward hook that zeroes the rows of `[B, L, rank]` whose flag is off."""

    def __init__(self, flags: Sequence[bool]) -> None:
        self._flags = torch.tensor(list(flags))
        # [B], made once a call; hundreds of layers share it.
        self._masks: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        rows = output.shape[0]
        key = (rows, output.dtype, output.device)
        if key not in self._masks:
            # Beam search repeats each row in place: a a b b for two beams of rows a, b.
            repeat, rest = divmod(rows, len(self._flags))
            if rest:
                raise PatchError(
                    f"a batch of {rows} rows cannot be matched with {len(self._flags)} prompts"
                )
            self._masks[key] = self._flags.repeat_interleave(repeat).to(output.device, output.dtype)
        mask = self._masks[key]
        return output * mask.view(-1, *[1] * (output.dim() - 1))  # [B, 1, 1]
