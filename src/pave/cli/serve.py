"""`pave serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.models import patched_model
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.placement import DtypeWord
from pave.serve.limits import Limits

if TYPE_CHECKING:
    from pave.serve.examples import Example

HERE = ("127.0.0.1", "localhost", "::1")
NEEDED = ("fastapi", "uvicorn")
USUAL = Limits()


def serve_verb(
    base: str | None = None,
    /,
    *,
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: Path | None = None,
    serve_folder: Path | None = None,
    allow_urls: Switch = False,
    ui: Switch = False,
    engine: Literal["transformers", "vllm"] = "transformers",
    vllm_args: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    same_weights: Switch = False,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
    limits: Annotated[Limits, Parameter(name="*")] = USUAL,
) -> int:
    r"""Serve a base and its patches over HTTP, with the interface of OpenAI's chat completions.

    The model's name in a request chooses the base, one patch, or a mix such as `sound+depth` or
    `sound:0.5`. The server runs until Ctrl-C or SIGTERM, and then finishes what it has begun.

    ```
    pave serve smol --patch sound=sound-demo
    pave serve smol --patch sound=sound-demo --ui
    pave serve --patch sound=patches/sound --patch depth=patches/depth \
        --port 8080
    curl http://127.0.0.1:8000/v1/models
    ```

    Args:
        base: The base model: smol, a folder, or a Hub id. By default the base of the first patch.
        patch: NAME=FOLDER or NAME=ID for a patch and its name in requests; without NAME= it is
            the folder's name. You can repeat the flag.
        host: Address to listen on. Only this machine can reach 127.0.0.1.
        port: Port to listen on; 0 takes a free one.
        api_key_file: File with the key that clients must send. Without it, the key is that of
            PAVE_API_KEY, and if there is none, anybody who reaches the server may ask.
        serve_folder: Folder whose files requests may name, as in `file:clips/a.mp4`.
        allow_urls: Let requests name http and https addresses, which the server then fetches, also
            from inside your network.
        ui: Serve a page for people, too, at /ui: what base and patches answer, where a patch looks,
            and a chat.
        engine: transformers answers in this process. vllm starts vLLM's own server with pave's
            plug-in, for LLaVA-OneVision, Qwen2-VL and Qwen2.5-VL, and patches of one channel; each
            patch is the name of a LoRA there, and mixes are not.
        vllm_args: With --engine vllm, words of vLLM's own command line, in one argument, such as
            "--tensor-parallel-size 2 --dtype bfloat16".
        same_weights: Refuse a patch that was trained on a base with other weights.
        dtype: Floating-point type of the base. auto is the type of its files.
        loading: How the base is loaded.
        limits: What one request may ask for.
    """
    if engine == "vllm":
        how = (serve_folder, allow_urls, ui, same_weights, dtype, loading, limits)
        if how != (None, False, False, False, "auto", AS_USUAL, USUAL):
            raise ConfigError(
                "--engine vllm takes --patch, --host, --port, --api-key-file and --vllm-args; all "
                "else is vLLM's own, and goes into --vllm-args"
            )
        return serve_by_vllm(base, patch_names(patch), (host, port), api_key_file, vllm_args)
    if vllm_args:
        raise ConfigError("--vllm-args goes with --engine vllm")
    serving = _Serving(patch, base, same_weights, dtype, loading, limits, ui)
    serving.check()
    if serve_folder is not None and not serve_folder.is_dir():
        raise ConfigError(f"--serve-folder {serve_folder}: the folder does not exist")
    from pave.serve.run import bind, read_key

    # The key itself is no flag: lists of processes show those to everybody.
    key = read_key(api_key_file)
    # Before a minute for a model.
    at = bind(host, port)
    if key is None and host not in HERE:
        output.note(
            f"anybody who can reach {host} may ask questions; set a key with --api-key-file"
        )
    local = key is None and host in HERE
    serving.run(at, key, local, None, folder=serve_folder, fetch=allow_urls)
    return 0


def serve_by_vllm(
    base: str | None,
    patches: Mapping[str, str],
    address: tuple[str, int],
    api_key_file: Path | None,
    more: str,
) -> int:
    """Become vLLM's own server, which ends as it ends."""
    from pave.patches import read_config
    from pave.patches.remote import locate
    from pave.serve.names import base_id
    from pave.serve.run import read_key
    from pave.vllm.launch import command, must_be_there

    must_be_there()
    folders = {name: locate(source) for name, source in patches.items()}
    if base is None:
        if not folders:
            raise ConfigError("--engine vllm needs a base, or a patch that names one")
        base = read_config(next(iter(folders.values()))).base.name
    key = read_key(api_key_file)
    words, variables = command(base, base_id(base), folders, address, more)
    if key is not None:
        variables["VLLM_API_KEY"] = key
    os.execve(words[0], words, {**os.environ, **variables})


def page_of(
    video: Path, question: Sequence[str], *, port: int, patch: tuple[str, ...], **how: Any
) -> int:
    """The page with one clip, on this machine alone.

    Args:
        video: The clip.
        question: What stands in the box for the question: the first one.
        port: Port to listen on.
        patch: As `pave serve` takes them.
        how: The base, and how it is loaded.
    """
    serving = _Serving(patch, limits=USUAL, ui=True, **how)
    serving.check()
    if not video.is_file():
        raise ConfigError(f"{video}: the page shows a film; a folder of frames goes with --save")
    from pave.serve.examples import Example
    from pave.serve.run import bind

    asked = next(iter(question), "")
    shown = Example(video.name, video.resolve(), asked)
    serving.run(bind(HERE[0], port), None, True, shown)
    return 0


@dataclass(frozen=True)
class _Serving:
    """What is served, whatever asks for it."""

    patch: tuple[str, ...]
    base: str | None
    same_weights: bool
    dtype: DtypeWord
    loading: Loading
    limits: Limits
    ui: bool

    def check(self) -> None:
        """Refuse what cannot be served before anything is loaded."""
        for package in [*NEEDED, "gradio"] if self.ui else NEEDED:
            if find_spec(package) is None:
                raise ConfigError(f"pave serve needs {package}: pip install 'video-pave[serve]'")
        patch_names(self.patch)

    def run(
        self,
        at: socket,
        key: str | None,
        local: bool,
        first: Example | None,
        **media: Any,
    ) -> None:
        """Load the model and serve it until the end; the page opens with `first`."""
        named = patch_names(self.patch)
        with (
            at,
            patched_model(
                list(named.values()),
                self.base,
                off=False,
                same_weights=self.same_weights,
                dtype=self.dtype,
                loading=self.loading,
                names=list(named),
            ) as (model, known),
        ):
            from pave.serve import Service, make_app
            from pave.serve.names import base_id
            from pave.serve.run import run

            called = base_id(known)
            if called in named:
                raise ConfigError(
                    f"--patch {called}=...: the base has that name, choose another one"
                )
            # From here on its thread alone runs the model.
            service = Service(model, base=called, limits=self.limits, **media)
            app = make_app(service, key, local=local)
            if self.ui:  # gradio takes seconds to load
                from pave.serve.examples import installed_examples
                from pave.serve.page import Page, mount

                page = Page(
                    service,
                    sources=named,
                    base=known,
                    examples=installed_examples(),
                    first=first,
                )
                mount(app, page, service, key)

            def ready(address: str) -> None:
                models = ", ".join([called, *named])
                output.line(f"serving {models} on {address}/v1")
                if self.ui:
                    output.line(f"page on {address}/ui")
                sys.stdout.flush()  # whoever started it may wait for the line

            run(app, service, at, ready)


def patch_names(patch: tuple[str, ...]) -> dict[str, str]:
    """Name in requests -> where the patch is."""
    from pave.serve.names import named

    found: dict[str, str] = {}
    for words in patch:
        name, source = named(words)
        if name in found:
            raise ConfigError(
                f"--patch: two patches are called {name!r}; name them with NAME=FOLDER"
            )
        found[name] = source
    return found
