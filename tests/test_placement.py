"""One rule for where models run and in which type, whatever machine this is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pave.channels.weights import best_device
from pave.errors import ConfigError
from pave.placement import chosen_device, find_device, find_dtype, running_on

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend to have so many GPUs, or Apple's."""

    def pretend(gpus: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.delenv("LOCAL_RANK", raising=False)

    return pretend


@pytest.mark.parametrize(
    ("gpus", "mps", "word", "found"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, True, "auto", "cuda"),
        (2, False, "cuda:1", "cuda:1"),
        (2, False, "cpu", "cpu"),
        (0, True, "mps", "mps"),
    ],
)
def test_a_word_finds_its_device(
    machine: Machine, gpus: int, mps: bool, word: str, found: str
) -> None:
    machine(gpus, mps)
    assert find_device(word) == torch.device(found)
    with running_on(word) as device:
        assert device == best_device() == torch.device(found)


@pytest.mark.parametrize(
    ("gpus", "word", "said"),
    [
        (0, "cuda", "device cuda: .*use cpu or auto"),
        (2, "cuda:2", "device cuda:2: there is no such GPU; available: cuda:0, cuda:1"),
        (0, "mps", "device mps: this machine has no Apple GPU"),
        (0, "gpu", "unknown device 'gpu'; use auto, cpu, cuda, cuda:1 or mps"),
        (0, "", "unknown device ''"),
        (0, "meta", "pave does not run on 'meta'"),
    ],
)
def test_an_impossible_device_is_one_line(
    machine: Machine, gpus: int, word: str, said: str
) -> None:
    machine(gpus)
    with pytest.raises(ConfigError, match=said) as caught:
        find_device(word)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rank", "found"), [("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1")])
def test_each_process_of_torchrun_gets_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, rank: str, found: str
) -> None:
    machine(gpus=2)
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert find_device("auto") == find_device("cuda") == torch.device(found)


def test_threads_and_inner_verbs_see_the_choice(machine: Machine) -> None:
    machine(gpus=2)
    with running_on("cpu"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(chosen_device).result().type == "cpu"
        with running_on("cuda:1"):
            assert chosen_device() == torch.device("cuda:1")
        assert chosen_device().type == "cpu"
    assert chosen_device().type == "cuda"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("fp32", "float32", "torch.float32", torch.float32), torch.float32),
        (("bf16", "bfloat16", torch.bfloat16), torch.bfloat16),
        (("fp16", "float16", torch.float16), torch.float16),
        (("auto",), None),
    ],
)
def test_words_and_types_name_a_dtype(
    words: tuple[str | torch.dtype, ...], found: torch.dtype | None
) -> None:
    assert [find_dtype(word) for word in words] == [found] * len(words)


@pytest.mark.parametrize("word", ["int8", "half precision", torch.int64, ""])
def test_other_dtypes_are_refused(word: str | torch.dtype) -> None:
    with pytest.raises(ConfigError, match="auto, fp32, bf16 or fp16"):
        find_dtype(word)
