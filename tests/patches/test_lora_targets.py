"""What takes a LoRA is peft's to say; what was asked for and is not there is told of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora import model as peft_lora
from torch import Tensor, nn

from helpers import tiny, tiny_patch
from pave.bases.digest import known_by, language_digest
from pave.channels.weights import weights_digest
from pave.errors import PatchError
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.patches.lora_targets import lora_config


class Packed(nn.Module):
    """A quantised layer as GPTQ's and HQQ's are: no `nn.Linear`, its numbers in a buffer."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        scale = layer.weight.abs().amax() / 127
        self.register_buffer("qweight", (layer.weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.qweight.float() * self.scale, self.bias)


class PackedLora(nn.Module, LoraLayer):
    """As peft's own LoRA layers for such: the base layer's output and the update."""

    def __init__(self, base_layer: Any, adapter_name: str, config: Any, **options: Any) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config.r, lora_alpha=config.lora_alpha, config=config)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = self.base_layer(x)
        for name in self.active_adapters:
            if name in self.lora_A:
                update = self.lora_B[name](self.lora_A[name](self.lora_dropout[name](x)))
                out = out + update * self.scaling[name]
        return out


def dispatch(target: Any, adapter_name: str, config: Any, **options: Any) -> nn.Module | None:
    """What peft does with a package's layers when the package is installed."""
    layer = target.get_base_layer() if isinstance(target, LoraLayer) else target
    if isinstance(layer, Packed):
        return PackedLora(target, adapter_name, config=config, **options)
    return None


@pytest.fixture
def packed() -> tiny_patch.Case:
    """A case whose language model is quantised."""
    base = tiny.base()
    for module in list(base.inner.language_model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Packed(child))
    clips, inputs = tiny.clips(base), tiny.inputs(base)
    with torch.no_grad():
        logits = base.model(**inputs).logits
    side = [{"audio": tiny_patch.tokens(5)}, {"audio": tiny_patch.tokens(3)}]
    return tiny_patch.Case(PatchedModel(base), inputs, clips, side, logits)


def test_a_quantised_layer_that_peft_adapts_is_adapted(
    packed: tiny_patch.Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Without the package peft refuses, in its words; with it a patch keeps its promises."""
    with pytest.raises(
        PatchError, match=r"is a Packed, which cannot have a LoRA \(.*not supported"
    ):
        tiny_patch.add(packed.model)
    monkeypatch.setattr(peft_lora, "dispatch_eetq", dispatch)
    tiny_patch.add(packed.model, awake=False)
    assert torch.equal(packed.run(), packed.logits)
    packed.wake()
    awake = packed.run()
    assert not torch.equal(awake, packed.logits)
    with pytest.raises(PatchError, match=r"merge\(\) cannot merge.*a Packed, as PackedLora"):
        packed.model.merge()
    assert torch.equal(packed.run(), awake)
    packed.model.save_patch(tmp_path / "p")
    packed.model.unpatch()
    again = PatchedModel(packed.base)
    again.load_patch(tmp_path / "p", name="audio")
    packed.model = again
    assert torch.equal(packed.run(), awake)


def test_layers_on_which_nothing_is_at_work_need_no_copies() -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model, lora=None)
    case.model.merge()
    tiny_patch.add(case.model, None, name="l", lora=LoraSpec(rank=2, targets=("q_proj",)))
    case.model.merge()
    assert len([1 for layer in case.model.loras.layers.values() if layer.merged_copy]) == 2
    case.model.train()
    with pytest.raises(PatchError, match="may still change"):
        case.model.new_patch(None, name="d", lora=LoraSpec(rank=2, dropout=0.5))
        case.model.merge()


@pytest.mark.parametrize(
    ("family", "targets", "message"),
    [
        ("qwen2_vl", ("q_proj", "v_projj"), "called v_projj; did you mean v_proj?"),
        ("qwen2_vl", ("GATE_PROJ",), "called GATE_PROJ; did you mean gate_proj?"),
        ("qwen2_vl", ("q_proj", "xyz"), "called xyz; choose other LoRA targets, such as q_proj"),
        ("qwen2_vl", ("mlp",), "is a Qwen2MLP, which cannot have a LoRA"),
        ("qwen3_vl_moe", ("gate_up_proj",), "experts are tensors such as layers.0.mlp.experts"),
        ("glm4v_moe", ("q_proj", "up_proj"), "peft treats up_proj as experts"),
        ("qwen3_vl_moe", ("experts",), "is a Qwen3VLMoeTextExperts, which cannot have a LoRA"),
    ],
)
def test_wrong_targets_are_told_of(family: str, targets: tuple[str, ...], message: str) -> None:
    model = PatchedModel(tiny.base(family))
    before = torch.random.get_rng_state()
    with pytest.raises(PatchError) as told:
        model.new_patch(None, name="l", lora=LoraSpec(rank=2, targets=targets))
    assert message in str(told.value)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not [m for m in model.model.modules() if isinstance(m, LoraLayer)]


def test_experts_that_lora_does_not_reach_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """The family's own targets are its dense models'; a mixture has some of them only."""
    model = PatchedModel(tiny.base("qwen3_vl_moe"))
    model.new_patch(None, name="l", lora=LoraSpec(rank=2))
    assert {path.split(".")[-1] for path in model.loras.layers} == {f"{x}_proj" for x in "qkvo"}
    assert "has no gate_proj, up_proj, down_proj" in caplog.text
    assert "experts are tensors" in caplog.text


@pytest.mark.parametrize("family", ["glm4v_moe", "glm46v", "qwen3_5_moe"])
def test_mixtures_of_which_every_target_is_there(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Shared experts have the names; the others are told of. No tower is reached, and no expert."""
    model = PatchedModel(tiny.base(family))
    model.new_patch(None, name="l", lora=LoraSpec(rank=2))
    assert "experts are tensors" in caplog.text and "leaves them out" not in caplog.text
    assert all(path.startswith("model.language_model.") for path in model.loras.layers)
    assert not [path for path in model.loras.layers if path.endswith(".experts")]
    config = lora_config(LoraSpec(rank=2), model.base.family)
    assert (config.exclude_modules is not None) == (family == "glm4v_moe")


class Wrapped(Tensor):
    """A tensor that wraps others, as torchao's: most operations on it are not there."""

    @staticmethod
    def __new__(cls, packed: Tensor, scale: Tensor) -> Wrapped:
        return Tensor._make_wrapper_subclass(cls, packed.shape, dtype=torch.float32)

    def __init__(self, packed: Tensor, scale: Tensor) -> None:
        self.packed, self.scale = packed, scale

    def __tensor_flatten__(self) -> tuple[list[str], dict[str, int]]:
        return ["packed", "scale"], {"bits": 8}

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].packed, args[0].scale)
        return NotImplemented


def test_a_digest_of_wrapped_and_packed_tensors(packed: tiny_patch.Case) -> None:
    """It changes with what they hold; a base with such weights has no digest for patches."""
    digests = set()
    for values in ([1, 2], [1, 3], [1, 2]):
        tensor = Wrapped(torch.tensor(values, dtype=torch.int8), torch.tensor(0.5))
        for one in (tensor, nn.Parameter(tensor, requires_grad=False)):
            digests.add(weights_digest([("w", one)]))
    assert len(digests) == 2
    before = language_digest(packed.base)
    assert "language" not in known_by(packed.base)
    packed.base.inner.language_model.layers[0].mlp.up_proj.qweight += 1
    assert language_digest(packed.base) != before
