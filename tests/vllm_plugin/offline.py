"""Run by vLLM's own Python: answers to the requests of a file, twice, as JSON in a second file.

vLLM writes to the standard output, too, until its processes have ended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    case = json.loads(Path(sys.argv[1]).read_text())
    import vllm
    from vllm.lora.request import LoRARequest

    from pave.vllm import serving
    from pave.vllm.reading import read_clip

    patches = {name: Path(folder) for name, folder in case["patches"].items()}
    llm = vllm.LLM(
        **serving(case["base"], patches),
        dtype="float32",
        max_model_len=512,
        enforce_eager=True,
        enable_prefix_caching=True,
        limit_mm_per_prompt={"image": 0},
        seed=0,
    )
    prompts, loras = [], []
    for request in case["requests"]:
        patch = request["patch"]
        clip = read_clip(request["film"], patch)
        prompts.append({"prompt_token_ids": request["ids"], "multi_modal_data": {"video": clip}})
        lora = None
        if patch is not None:
            number = list(patches).index(patch) + 1
            lora = LoRARequest(patch, number, str(patches[patch] / "lora"))
        loras.append(lora)
    how = vllm.SamplingParams(temperature=0, max_tokens=case["tokens"], detokenize=False)
    passes = []
    for _ in range(2):
        # Its bar divides by the time that has passed, which may be none.
        outputs = llm.generate(prompts, how, lora_request=loras, use_tqdm=False)
        ids = [list(output.outputs[0].token_ids) for output in outputs]
        passes.append({"ids": ids, "cached": [output.num_cached_tokens for output in outputs]})
    Path(sys.argv[2]).write_text(json.dumps(passes))


if __name__ == "__main__":  # vLLM starts its engine in a process that imports this file
    main()
