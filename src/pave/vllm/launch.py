"""The command that starts vLLM's own server with the plug-in."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from pave.errors import ConfigError
from pave.vllm.patches import environment, load_served, lora_limits

SERVER = "vllm.entrypoints.openai.api_server"
NAMES = "pave.vllm.names.PatchOfModel"
"""What tells our reader of clips, for each request, which patch its model's name means."""


def must_be_there() -> None:
    """Refuse where vLLM is missing, or would not find the plug-in.

    Raises:
        ConfigError: With what to install.
    """
    if find_spec(SERVER.partition(".")[0]) is None:
        raise ConfigError(
            "--engine vllm needs vllm in this environment (docs/how-to/serve-a-patch.md, "
            '"vLLM"); or use --engine transformers'
        )
    if not any(point.name == "pave" for point in entry_points(group="vllm.general_plugins")):
        raise ConfigError("--engine vllm needs pave to be installed: pip install video-pave")


def command(
    base: str,
    called: str,
    patches: Mapping[str, Path],
    address: tuple[str, int],
    more: str,
) -> tuple[list[str], dict[str, str]]:
    """The words of the command, and the variables of its environment.

    Args:
        base: The base's folder, or its Hub id.
        called: What requests call the base.
        patches: Name -> folder.
        address: Host and port.
        more: Further words of vLLM's own command line, such as `--tensor-parallel-size 2`.

    Raises:
        PaveError: If the base or a patch cannot be served by vLLM.
        ConfigError: If `more` sets what is set here.

    Example:
        >>> here = ("127.0.0.1", 8000)
        >>> words, _ = command("base", "base", {}, here, "--dtype float32")  # doctest: +SKIP
        >>> words[-2:]  # doctest: +SKIP
        ['--dtype', 'float32']
    """
    known = load_served(base, patches)  # one clear line here, where vLLM would write pages
    most, rank = lora_limits([one.rank for one in known.patches.values()])
    host, port = address
    ours = {
        "--model": base,
        "--served-model-name": called,
        "--host": host,
        "--port": str(port),
        "--hf-overrides": json.dumps({"architectures": [known.architecture]}),
        "--media-io-kwargs": json.dumps({"video": {"video_backend": "pave"}}),
        "--max-loras": str(most),
        "--max-lora-rank": str(rank),
        "--middleware": NAMES,
    }
    theirs = shlex.split(more)
    doubled = [word for word in theirs if word.partition("=")[0] in ours]
    if doubled:
        raise ConfigError(f"--vllm-args: {doubled[0]} is set by pave serve itself")
    words = [sys.executable, "-m", SERVER]
    for flag, value in ours.items():
        words += [flag, value]
    # Requests themselves may not say how media are read: `PatchOfModel` takes that out.
    words += ["--enable-lora", "--enable-prefix-caching", "--trust-request-mm-kwargs"]
    if patches:
        adapters = [f"{name}={folder.resolve() / 'lora'}" for name, folder in patches.items()]
        words += ["--lora-modules", *adapters]
    return [*words, *theirs], environment(base, patches)
