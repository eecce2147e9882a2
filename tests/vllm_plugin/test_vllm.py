"""The plug-in inside vLLM, in an environment of its own (`make vllm`): its tokens are ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch

from helpers import tiny, tiny_patch, tinyrun
from helpers.served import video
from pave import load_base
from pave.answer import Sampling, questions_about
from pave.answer.asking import look
from pave.answer.generation import generate
from pave.bases import Base
from pave.model import PatchedModel
from pave.model.chosen import Chosen
from pave.patches import LoraSpec
from pave.testing.tiny import spread_weights

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("PAVE_VLLM_PYTHON", ROOT / ".vllm/bin/python"))
TOKENS = 12
QUESTIONS = ("What?", "What is it?", "Why?")
FAMILIES = ("llava_onevision", "qwen2_vl", "qwen2_5_vl")
QUERIES = {"sound": "pre_projector", "noise": "projected"}  # of each patch
# What a Qwen folder says of pixels: vLLM sets its room by it, and pave the size of a frame.
PIXELS = {
    # Of a frame: 3 x 4 tokens.
    "size": {"shortest_edge": 12 * 28 * 28, "longest_edge": 16 * 28 * 28},
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="no environment with vLLM (make vllm, or PAVE_VLLM_PYTHON)"
    ),
]


@dataclass(frozen=True)
class Case:
    """A base with two patches of sound, and films."""

    base: Path
    patches: dict[str, Path]
    films: list[Path]


def tiny_base(family: str = FAMILIES[0]) -> Base:
    """A tiny base with heads of a width that vLLM's attention takes on CPUs."""
    like = tiny.base(family).model
    config = like.config
    text = config.text_config
    text.hidden_size = 64
    text.num_attention_heads = 2
    text.num_key_value_heads = 1
    text.head_dim = 32
    if family == "qwen2_vl":
        config.vision_config.hidden_size = 64
    if family == "qwen2_5_vl":
        config.vision_config.out_hidden_size = 64
    if family != FAMILIES[0]:
        text.rope_parameters["mrope_section"] = [4, 6, 6]  # half a head
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = type(like)(config)
        spread_weights(model)
    return load_base(model, tiny.tokenizer(), name="tiny")


def made(folder: Path, family: str) -> Case:
    base = tiny_base(family)
    base.model.save_pretrained(folder / "base")
    base.tokenizer.save_pretrained(folder / "base")
    if family != FAMILIES[0]:
        of_pictures = {"image_processor_type": "Qwen2VLImageProcessor", **PIXELS}
        (folder / "base/preprocessor_config.json").write_text(json.dumps(of_pictures))
        of_videos = {"video_processor_type": "Qwen2VLVideoProcessor", **PIXELS}
        (folder / "base/video_preprocessor_config.json").write_text(json.dumps(of_videos))
    patches = {}
    for seed, (name, query) in enumerate(QUERIES.items()):
        patches[name] = patch(base, folder / name, query, seed)
    films = [tinyrun.clip(folder / f"{number}.mp4", number) for number in range(2)]
    return Case(folder / "base", patches, films)


def patch(base: Base, folder: Path, query: str, seed: int) -> Path:
    """Save a patch with random weights, whose fusion reads this of the base."""
    model = PatchedModel(base)
    fusion = {"hidden": 32, "query": query}
    model.new_patch("audio", name="p", lora=LoraSpec(rank=2), fusion=fusion, seed=seed)
    tiny_patch.shake(model, seed)
    model.save_patch(folder, name="p")
    model.unpatch()
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("vllm"), FAMILIES[0])


def environment(folder: Path) -> dict[str, str]:
    """Where vLLM finds this source, announced as an installed plug-in."""
    about = folder / "video_pave-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: video-pave\nVersion: 0\n")
    (about / "entry_points.txt").write_text("[vllm.general_plugins]\npave = pave.vllm:register\n")
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
        "PYTHONPATH": f"{folder}:{ROOT / 'src'}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


# The base's format for one turn; the tiny base has no template of its own.
TEMPLATE = (
    "{{ '<|im_start|>user ' + messages[0]['content'] + '<|im_end|><|im_start|>assistant\\n' }}"
)


@contextmanager
def server(case: Case, folder: Path) -> Iterator[str]:
    """`pave serve --engine vllm` by vLLM's own Python; its address."""
    template = folder / "chat.jinja"
    template.write_text(TEMPLATE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = (
        "--dtype float32 --max-model-len 512 --enforce-eager --chat-template-content-format string "
        f"--chat-template {template} --limit-mm-per-prompt '{{\"image\":0}}'"
    )
    patches = [f"--patch={name}={place}" for name, place in case.patches.items()]
    words = ["serve", case.base, *patches, "--port", str(port), "--engine", "vllm"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "pave", *words, f"--vllm-args={more}"],
            env=environment(folder / "site"),
            stdout=log,
            stderr=log,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(1800):  # seconds; it imports a lot, and other work may share the machine
                with suppress(httpx2.TransportError):
                    if httpx2.get(f"{address}/health").status_code == 200:
                        break
                assert process.poll() is None, (folder / "log").read_text()[-4000:]
                time.sleep(1)
            yield address
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def test_the_client_of_openai_gets_the_same_tokens(case: Case, tmp_path: Path) -> None:
    requests, wanted = asked(case)
    with server(case, tmp_path) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        assert [model.id for model in client.models.list()] == ["base", *case.patches]

        def ask(number: int) -> list[int]:
            request = requests[number]
            parts = [video(Path(request["film"])), {"type": "text", "text": request["question"]}]
            answer = client.chat.completions.create(
                model=request["patch"] or "base",
                messages=[{"role": "user", "content": parts}],
                max_tokens=TOKENS,
                temperature=0,
                extra_body={"return_token_ids": True},
            )
            return answer.choices[0].model_extra["token_ids"]

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(ask, range(len(requests))))
        assert without_ends(found) == without_ends(wanted)
        silent = video(tinyrun.clip(tmp_path / "silent.mp4", 2, sound=False))
        with pytest.raises(openai.BadRequestError, match="the film has no audio"):
            messages = [{"role": "user", "content": [silent]}]
            client.chat.completions.create(model="sound", messages=messages)
        with pytest.raises(openai.NotFoundError, match="patches have no weights"):
            client.chat.completions.create(model="sound:0.5", messages=messages)


def without_ends(answers: list[list[int]]) -> list[list[int]]:
    """Answers without the tokens that end them, which vLLM tells and we do not."""
    end = tiny_base().stop_ids
    return [[id for id in ids if id not in end] for ids in answers]


def asked(case: Case) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Requests for vLLM, and what pave alone answers to each of them."""
    model = PatchedModel(load_base(case.base))
    for name, folder in case.patches.items():
        model.load_patch(folder, name=name)
    place = model.base.placeholder_id
    requests, wanted = [], []
    for film in case.films:
        for patch in (None, *case.patches):
            weights = {} if patch is None else {patch: 1.0}
            chosen = Chosen(model, weights)
            features = look(chosen, film, {}, None)
            for question in QUESTIONS:
                put = questions_about(chosen, features, [[(question, None)]])
                ids = put.prefix + put.asked[0]
                # vLLM wants one place for a clip, and makes the others itself.
                kept = [id for at, id in enumerate(ids) if id != place or ids[at - 1] != place]
                requests.append(
                    {"film": str(film), "patch": patch, "question": question, "ids": kept}
                )
                ((answer,),) = generate(chosen, [put], Sampling(TOKENS))
                wanted.append(answer)
    return requests, wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_of_base_and_patches_in_one_batch_are_ours(family: str, tmp_path: Path) -> None:
    case = made(tmp_path / "made", family)
    requests, wanted = asked(case)
    assert len({tuple(one) for one in wanted}) > len(wanted) // 2  # they differ
    file, found_file = tmp_path / "case.json", tmp_path / "found.json"
    patches = {name: str(folder) for name, folder in case.patches.items()}
    content = {"base": str(case.base), "patches": patches, "requests": requests, "tokens": TOKENS}
    file.write_text(json.dumps(content))
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("offline.py"), file, found_file],
        env=environment(tmp_path / "site"),
        capture_output=True,
        text=True,
        timeout=1800,  # other work may share the machine
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, again = json.loads(found_file.read_text())
    for found in (first, again):
        assert without_ends(found["ids"]) == without_ends(wanted)
    # The second time, prompts were found in the prefix cache.
    assert sum(again["cached"]) > sum(first["cached"])
