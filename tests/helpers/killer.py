"""An encoder, and a reader of films, that end their process at clips with "deadly" in their name.

As a package of its own, because worker processes have to find it, too.
"""

from __future__ import annotations

from pathlib import Path

MODULE = "killer_plugin"
CODE = """
import os, signal
from pathlib import Path
import torch
from pydantic import BaseModel
from pave.channels import register_encoder
from pave.data import reading
from pave.tokens import Tokens

READ = reading._read

class Settings(BaseModel, extra="forbid"):
    pass

def die(path):
    if "deadly" in Path(path).name:
        os.kill(os.getpid(), signal.SIGSEGV if Path(path).suffix else signal.SIGKILL)

def read(video, sampling):
    die(video)
    return READ(video, sampling)

reading._read = read

@register_encoder("killer", "test", Settings)
class Killer:
    channel, name, dim = "killer", "test", 4
    def __init__(self, settings):
        self.settings = {}
    def encode(self, source):
        die(source)
        return Tokens(torch.full((1, 1, 4), os.getpid()), torch.zeros(1, dtype=torch.float64))
"""


def died(signal: str) -> str:
    """What is said of a clip whose process ended so."""
    return (
        f"the process that read it died ({signal}; a decoder crashed, or the memory was exhausted)"
    )


def install(site: Path) -> Path:
    """Put the package into a folder, with its entry point."""
    about = site / f"{MODULE}-1.0.dist-info"
    about.mkdir(parents=True)
    (site / f"{MODULE}.py").write_text(CODE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: killer-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[pave.encoders]\nkiller.test = {MODULE}\n")
    return site
