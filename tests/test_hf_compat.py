"""Each private attribute that pave leans on is there, and each function does what it says."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch import nn

from helpers import tiny
from pave import hf_compat


def test_torch_counts_changes_in_place() -> None:
    tensor = torch.zeros(2)
    assert hasattr(tensor, "_version"), "Tensor._version is gone"
    (before,) = hf_compat.change_counters([tensor])
    tensor.add_(1)
    with torch.inference_mode():
        assert hf_compat.change_counters([tensor, torch.zeros(1)]) == [before + 1, 0]


def test_lanczos_is_a_mode_of_torch() -> None:
    frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    mode = hf_compat.lanczos_mode()
    small = torch.nn.functional.interpolate(frames, size=(4, 4), mode=mode, antialias=True)
    assert small.shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "can"), [("a/b", True), ("smol", True), ("a/b/c", False), ("../x", False), ("", False)]
)
def test_hub_ids(name: str, can: bool) -> None:
    assert hf_compat.can_be_hub_id(name) == can


def test_a_broken_connection_is_an_error_of_the_hub() -> None:
    import huggingface_hub

    api = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9", token=False)  # nobody answers there
    with pytest.raises(hf_compat.hub_errors()) as caught:
        list(api.list_models(limit=1))
    assert not isinstance(caught.value, ValueError)


def test_cached_file_has_its_private_arguments(tmp_path: Path) -> None:
    from transformers.utils import hub

    known = inspect.signature(hub.cached_files).parameters
    for name in ("missing_entries", "connection_errors"):
        assert f"_raise_exceptions_for_{name}" in known
    (tmp_path / "there.json").write_text("{}")
    assert hf_compat.find_file(str(tmp_path), "there.json") == tmp_path / "there.json"
    assert hf_compat.find_file(str(tmp_path), "absent.json") is None


def test_from_pretrained_looks_at_what_is_told_of_missing_parts() -> None:
    model: Any = tiny.base().model
    for name in ("all_tied_weights_keys", "_keys_to_ignore_on_load_unexpected"):
        assert hasattr(model, name), f"PreTrainedModel.{name} is gone"
    model.all_tied_weights_keys = {"lm_head.weight": "gone.weight"}
    hf_compat.expect_no_weights_of(model, ["gone"])
    assert model.all_tied_weights_keys == {}
    assert r"(^|\.)gone\." in model._keys_to_ignore_on_load_unexpected


def test_bars_are_off_for_a_while_and_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging

    def draw() -> str:
        list(gguf.tqdm([1, 2]))
        list(logging.tqdm([1, 2]))
        return capfd.readouterr().err

    before = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    try:
        assert draw().count("2/2") == 2
        with hf_compat.without_bars():
            assert draw() == ""
        assert draw().count("2/2") == 2
    finally:
        if not before:
            logging.disable_progress_bar()


def test_deepstack_output_has_its_fields() -> None:
    output = hf_compat.deepstack_output(pooler_output=(1,), deepstack_features=[(2,)])
    assert (output.pooler_output, output.deepstack_features) == ((1,), [(2,)])


def test_beams_of_glm_need_the_other_id() -> None:
    """By itself `generate` is left with no visual tokens; a version that mends it is welcome."""
    base = tiny.base("glm4v")
    inputs = tiny.inputs(base, (2, 2))
    own = base.config.video_token_id
    beams = {"num_beams": 2, "max_new_tokens": 1, "do_sample": False}
    assert hasattr(base.model, "_expand_multimodal_outputs"), "_expand_multimodal_outputs is gone"
    with pytest.raises(ValueError, match="non-empty list"):
        base.model.generate(**inputs, **beams)
    with hf_compat.beams_count_images(base.config):
        base.model.generate(**inputs, **beams)
    assert base.config.video_token_id == own


def test_peft_takes_targets_of_some_models_for_experts() -> None:
    from peft.utils import transformers_weight_conversion as conversion

    for name in ("_MODEL_TO_CONVERSION_PATTERN", "_MOE_TARGET_MODULE_MAPPING"):
        assert hasattr(conversion, name), f"peft's {name} is gone"
    taken = {"gate", "gate_proj", "up_proj", "down_proj"}
    assert hf_compat.expert_targets(tiny.base("glm4v_moe").config) == taken
    assert not hf_compat.expert_targets(tiny.base("qwen3_vl_moe").config)
    assert not hf_compat.expert_targets(None)


def test_layers_look_up_the_attention_that_is_set() -> None:
    base = tiny.base()
    text = base.config.get_text_config()
    assert hasattr(text, "_attn_implementation"), "config._attn_implementation is gone"
    assert hf_compat.attention_implementation(text) == "sdpa"
    hf_compat.set_attention_implementation(text, "eager")
    layer = base.inner.language_model.layers[0].self_attn
    assert hf_compat.attention_implementation(layer.config) == "eager"


def _adapted() -> Any:
    """A linear layer with two adapters of peft, in bfloat16."""
    from peft import LoraConfig, inject_adapter_in_model

    model = nn.Sequential(nn.Linear(4, 4)).to(torch.bfloat16)
    for name in ("a", "b"):
        inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"]), model, adapter_name=name)
    return model


def test_peft_layers_work_with_the_adapters_named() -> None:
    layer = _adapted()[0]
    assert hasattr(layer, "_active_adapter"), "BaseTunerLayer._active_adapter is gone"
    trained = [parameter.requires_grad for parameter in layer.parameters()]
    hf_compat.activate_adapters([layer], ["a", "b"])
    assert layer.active_adapters == ["a", "b"]
    assert [parameter.requires_grad for parameter in layer.parameters()] == trained


def test_peft_casts_one_adapter() -> None:
    from peft.tuners import tuners_utils

    assert hasattr(tuners_utils, "cast_adapter_dtype"), "peft's cast_adapter_dtype is gone"
    model = _adapted()
    for part in (model[0].lora_A, model[0].lora_B):
        part.to(torch.bfloat16)
    hf_compat.adapter_in_float32(model, "a")
    assert model[0].lora_A["a"].weight.dtype == torch.float32
    assert model[0].lora_A["b"].weight.dtype == torch.bfloat16


def test_adapters_of_peft_are_found() -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import other

    assert hasattr(BaseTunerLayer, "adapter_layer_names"), "BaseTunerLayer has no part names"
    assert hasattr(other, "AuxiliaryTrainingWrapper"), "AuxiliaryTrainingWrapper is gone"
    assert set(hf_compat.adapters_on(_adapted()).values()) == {"a", "b"}
    assert hf_compat.adapters_on(nn.Linear(2, 2)) == {}
    wrapper = other.ModulesToSaveWrapper(nn.Linear(2, 2), "c")
    assert hasattr(wrapper, "_adapters"), "AuxiliaryTrainingWrapper._adapters is gone"
    assert set(hf_compat.adapters_on(nn.Sequential(wrapper)).values()) == {"c"}


def test_wrappers_of_peft_are_known() -> None:
    from peft import LoraConfig, get_peft_model

    model = nn.Sequential(nn.Linear(4, 4))
    assert hf_compat.is_peft_model(get_peft_model(model, LoraConfig(target_modules=["0"])))
    assert not hf_compat.is_peft_model(model)


def test_compiled_modules_are_known() -> None:
    layer = nn.Linear(2, 2)
    assert not hf_compat.is_compiled(layer)
    assert hf_compat.is_compiled(torch.compile(nn.Linear(2, 2), backend="eager"))
    layer.compile(backend="eager")
    assert hf_compat.is_compiled(layer)
    layer = nn.Linear(2, 2)
    layer.forward = torch.compile(layer.forward, backend="eager")  # type: ignore[method-assign]
    assert hf_compat.is_compiled(layer), "_torchdynamo_orig_callable is gone"


def test_layers_that_are_called_as_they_are() -> None:
    layer = nn.Linear(2, 2)
    assert hf_compat.is_called_as_is(layer)
    handle = layer.register_forward_pre_hook(lambda *call: None)
    assert not hf_compat.is_called_as_is(layer)
    handle.remove()
    layer.register_forward_hook(lambda *call: None)
    assert not hf_compat.is_called_as_is(layer)


def test_a_layer_whose_inputs_accelerate_moves_is_called_as_it_is() -> None:
    """That of a base on several devices; another hook, or forward, may do anything."""
    from accelerate.hooks import AlignDevicesHook, ModelHook, add_hook_to_module

    layer = nn.Linear(2, 2)
    add_hook_to_module(layer, AlignDevicesHook(execution_device="cpu"))
    assert "forward" in vars(layer) and hasattr(layer, "_old_forward"), "accelerate hooks otherwise"
    assert hf_compat.is_called_as_is(layer)
    add_hook_to_module(layer, ModelHook(), append=True)
    assert not hf_compat.is_called_as_is(layer)
    layer = nn.Linear(2, 2)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    assert not hf_compat.is_called_as_is(layer)
    add_hook_to_module(layer, AlignDevicesHook(execution_device="cpu"))
    assert not hf_compat.is_called_as_is(layer)


def test_offloading_hooks_are_known() -> None:
    from accelerate.hooks import AlignDevicesHook, SequentialHook, add_hook_to_module

    for offload in (True, False):
        hook = AlignDevicesHook(offload=offload, execution_device="cpu")
        for one in (hook, SequentialHook(hook)):
            layer = nn.Linear(2, 2)
            layer._hf_hook = one
            assert hf_compat.is_offloaded(layer) == offload
    layer = add_hook_to_module(nn.Linear(2, 2), AlignDevicesHook(execution_device="cpu"))
    assert hasattr(layer, "_hf_hook"), "Module._hf_hook is gone"
    assert not hf_compat.is_offloaded(nn.Linear(2, 2))


def test_checkpointing_is_switched_on() -> None:
    model = tiny.base().model
    hf_compat.enable_checkpointing(model, {"use_reentrant": False})
    assert model.is_gradient_checkpointing


def test_onednn_multiplies_as_torch_does() -> None:
    assert hasattr(torch.ops.mkldnn, "_linear_pointwise"), "_linear_pointwise is gone"
    x, weight, bias = torch.randn(5, 4), torch.randn(3, 4), torch.randn(3)
    expected = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(hf_compat.onednn_linear(x, weight, bias), expected)
    grad = torch.randn(5, 3)
    # As the gradients need it, of tensors whose columns lie together.
    torch.testing.assert_close(hf_compat.onednn_linear(grad, weight.T, None), grad @ weight)
    torch.testing.assert_close(hf_compat.onednn_linear(grad.T, x.T, None), grad.T @ x)


@pytest.mark.parametrize(
    ("capabilities", "pays"),
    [
        ({"avx512_f": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_f": True, "cpu_name": "Intel Xeon"}, False),
        ({"avx512_f": False, "cpu_name": "AMD EPYC"}, False),
        ({"avx512_f": True}, False),
        ({}, False),
    ],
)
def test_mkl_leaves_avx512_alone_on_others_than_intel(
    capabilities: dict[str, Any], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hasattr(torch.cpu, "get_capabilities"), "torch.cpu.get_capabilities is gone"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert hf_compat.mkl_leaves_avx512_alone() == pays


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_units_for_bf16_are_seen(
    capabilities: dict[str, Any], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert hf_compat.has_bf16_units() == has


def test_hooks_are_seen() -> None:
    layer = nn.Identity()
    assert not hf_compat.has_forward_hooks(layer)
    layer.register_forward_hook(lambda *call: None)
    assert hf_compat.has_forward_hooks(layer)


@pytest.mark.parametrize(
    ("processes", "chances"), [(1, ["rng_state.pth"]), (2, ["rng_state_0.pth", "rng_state_1.pth"])]
)
def test_the_trainer_writes_these_files(processes: int, chances: list[str]) -> None:
    """The names as transformers has them."""
    from transformers import trainer

    assert (trainer.OPTIMIZER_NAME, trainer.SCHEDULER_NAME) == ("optimizer.pt", "scheduler.pt")
    assert 'f"rng_state_{self.args.process_index}.pth"' in inspect.getsource(trainer.Trainer)
    files = hf_compat.checkpoint_files(processes)
    assert files == [trainer.OPTIMIZER_NAME, trainer.SCHEDULER_NAME, *chances]


def test_the_trainer_keeps_its_step_in_this_file() -> None:
    """The name as transformers has it."""
    from transformers import trainer

    assert hf_compat.TRAINER_STATE == trainer.TRAINER_STATE_NAME


def test_the_trainer_of_one_process_takes_the_gpu_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no second one beside it, over which it would spread the model by itself."""
    from functools import cached_property

    from transformers import TrainingArguments

    assert isinstance(TrainingArguments.__dict__["_setup_devices"], cached_property)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert (args.device.type, args.n_gpu) == ("cpu", 0)
    args._n_gpu = 4  # as on a machine with four
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    hf_compat.train_on(args, torch.device("cuda:1"))
    assert args.device == torch.device("cuda:1") and current == [args.device]
    assert args.n_gpu == 1 and args.train_batch_size == args.per_device_train_batch_size


@pytest.mark.parametrize("hook", hf_compat.TRAINER_HOOKS)
def test_the_trainer_has_its_hooks_and_ours_takes_each(hook: str) -> None:
    """A hook that is gone, or takes other arguments, would be passed over in silence."""
    from transformers import Trainer

    from pave.train.trainer import PatchTrainer

    theirs, ours = getattr(Trainer, hook), PatchTrainer.__dict__[hook]
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_torch_s_writer_names_itself_when_it_fails() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    with pytest.raises(RuntimeError) as caught:
        torch.save(torch.zeros(1 << 20), "/dev/full")
    assert hf_compat.is_write_failure(caught.value)
    assert not hf_compat.is_write_failure(RuntimeError("out of memory"))


def test_a_lost_process_is_told_from_other_failures() -> None:
    from torch import distributed

    assert hf_compat.is_lost_process(RuntimeError("[gloo/x.cc:1] Connection closed by peer"))
    assert hf_compat.is_lost_process(distributed.DistNetworkError("the connection is lost"))
    assert not hf_compat.is_lost_process(RuntimeError("out of memory"))


def test_a_report_of_loading_names_what_was_not_filled(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import ASTConfig, ASTModel

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ASTModel(ASTConfig(hidden_size=16, **sizes)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    _, report = ASTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert hf_compat.unfilled(report) == []
    lost = sorted(tensors)[0]
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    _, report = ASTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert len(hf_compat.unfilled(report)) == 1
    assert hf_compat.unfilled(report)[0].endswith(lost)
    tensors[lost] = torch.zeros(3)
    save_file(tensors, file, metadata={"format": "pt"})
    _, report = ASTModel.from_pretrained(
        tmp_path, output_loading_info=True, ignore_mismatched_sizes=True
    )
    assert f"{lost} ([3] in the files, [" in hf_compat.unfilled(report)[0]


def test_revisions_know_their_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`resolve_revision` offline, from the note that huggingface_hub keeps of a branch."""
    commit = "c0ffee" + "0" * 34
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(commit)
    (tmp_path / "models--a--b" / "snapshots" / commit).mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = hf_compat.find_revision("a/b", "main", None)
    assert found == "main" and hf_compat.commit_of(found) == commit
    assert hf_compat.commit_of(hf_compat.find_revision("a/b", None, None)) == commit
    assert hf_compat.find_revision("a/b", "v9", None) == "v9"
    assert [hf_compat.commit_of(word) for word in (commit, "v9", None)] == [commit, None, None]


def test_tensors_that_wrap_others_are_not_plain() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    plain, wrapping = torch.ones(2), TwoTensor(torch.ones(2), torch.ones(2))
    assert hf_compat.is_plain(plain) and hf_compat.is_plain(nn.Parameter(plain))
    assert not hf_compat.is_plain(wrapping) and not hf_compat.is_plain(nn.Parameter(wrapping))


def test_bitsandbytes_packs_no_weights_anew() -> None:
    """Where it is installed its layer must still have the switch."""
    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    layers[0].support_avx512bf16_for_cpu = True  # as bitsandbytes' layers
    hf_compat.keep_quantised_weights(nn.Sequential(*layers))
    assert layers[0].support_avx512bf16_for_cpu is False
    assert not hasattr(layers[1], "support_avx512bf16_for_cpu")
    found = pytest.importorskip("bitsandbytes").nn.Linear4bit(64, 64)
    assert hasattr(found, "support_avx512bf16_for_cpu")


@pytest.mark.parametrize(
    ("columns", "dtype", "wrong"),
    [(36, torch.bfloat16, True), (64, torch.bfloat16, False), (36, torch.float32, False)],
)
def test_rows_that_a_kernel_reads_too_far(columns: int, dtype: torch.dtype, wrong: bool) -> None:
    """Rows of int8 whose length 4 divides and 32 does not, in bf16, as quanto holds them."""
    weight = SimpleNamespace(_data=torch.zeros(8, columns, dtype=torch.int8), dtype=dtype)
    assert hf_compat.reads_beyond_rows(SimpleNamespace(weight=weight)) == wrong
    assert not hf_compat.reads_beyond_rows(torch.nn.Linear(columns, 8))


def test_further_layers() -> None:
    model = nn.Sequential()
    model.add_module("blocks", nn.Sequential(nn.Linear(2, 2)))  # blocks.0.weight, blocks.0.bias
    names = ["blocks.0.weight", "head.weight", "net.blocks.0.bias", "text.0.weight"]
    assert hf_compat.further_layers(model, {"unexpected_keys": names}) == []
    more = ["blocks.1.weight", "net.blocks.12.bias"]
    assert hf_compat.further_layers(model, {"unexpected_keys": names + more}) == more


def test_what_is_read_of_deepspeed() -> None:
    """Where it is installed it must still have the names; its numbers, `train/test_zero.py` has."""
    said: list[str] = []
    own = SimpleNamespace(
        single_partition_of_fp32_groups=(torch.ones(3),),
        scaled_global_norm=lambda: torch.tensor(2.0),
        refresh_fp32_params=lambda: said.append("refreshed"),
    )
    engine = SimpleNamespace(optimizer=own)
    assert hf_compat.zero_norm(engine) == 2.0
    assert [len(share) for share in hf_compat.zero_shares(engine)] == [3]
    hf_compat.refresh_zero(engine)
    assert said == ["refreshed"]
    module = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2")
    source = inspect.getsource(module.DeepSpeedZeroOptimizer)
    assert [name for name in vars(own) if name not in source] == []


def test_every_function_is_named_here() -> None:
    """A fact that is added has to be tested too."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in hf_compat.__all__ if f"hf_compat.{name}" not in text] == []


def test_every_function_can_be_had_from_the_front() -> None:
    for module in pkgutil.iter_modules(hf_compat.__path__, f"{hf_compat.__name__}."):
        own = vars(import_module(module.name)).values()
        for thing in filter(inspect.isfunction, own):
            if not thing.__name__.startswith("_") and thing.__module__ == module.name:
                assert getattr(hf_compat, thing.__name__) is thing


def test_attention_layers_tell_what_they_attend_with() -> None:
    """Attention is a mean of values: of ones it is one, of twice the values twice as much."""
    from transformers import AttentionInterface, AttentionMaskInterface

    base = tiny.base()
    config = base.config.get_text_config()
    language = getattr(base.inner, base.family.language_model)
    embeds = torch.randn(1, 7, base.hidden_dim, generator=torch.Generator().manual_seed(0))
    own = config._attn_implementation
    known = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)
    layers = []

    def listen(keys, values, output, attend) -> None:
        layers.append(keys.shape[2])
        assert torch.equal(attend(keys, values), output)
        torch.testing.assert_close(attend(keys, 2 * values), 2 * output)
        ones = attend(keys, torch.ones_like(values))
        torch.testing.assert_close(ones, torch.ones_like(ones))

    with torch.no_grad():
        plain = language(inputs_embeds=embeds).last_hidden_state
        with hf_compat.attention_told(config, listen):
            told = language(inputs_embeds=embeds).last_hidden_state
    assert torch.equal(plain, told)
    assert layers == [7] * config.num_hidden_layers
    assert config._attn_implementation == own
    left = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)
    assert left == known
