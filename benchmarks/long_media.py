"""Ten minutes of video through every channel: does the process ever hold all its frames?

    python benchmarks/long_media.py                 # 10 min, 30 fps, 640 x 360; about two minutes
    python benchmarks/long_media.py --json --width 160 --height 120

Makes one H.264 + AAC video, then encodes it with each encoder in a process of its own, and prints
what that process's memory grew by from the moment the encoder was ready. Towers are those of
`smol`; networks whose weights are not here are small random ones, which changes their speed and not
what is held of the video.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import memory, peak_growth

from pave.bases import load_base, tower_of
from pave.channels import Encoder, Source, make_encoder
from pave.media import write_video

RATE, FPS = 16000, 30
MB = 1e6


def film(path: Path, minutes: float, width: int, height: int) -> None:
    """A square that wanders over a gradient, and a tone that slides."""
    back = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    frames = round(minutes * 60 * FPS)

    def pictures() -> Iterator[np.ndarray[Any, Any]]:
        for number in range(frames):
            picture = back.copy()
            top, left = number % (height - 32), number * 3 % (width - 32)
            picture[top : top + 32, left : left + 32] = (255, number % 256, 0)
            yield picture

    seconds = np.arange(round(minutes * 60 * RATE)) / RATE
    write_video(
        path,
        pictures(),
        FPS,
        (0.3 * np.sin(2 * np.pi * (200 + seconds) * seconds)).astype(np.float32),
        RATE,
    )


def imagebind(folder: Path) -> dict[str, Any]:
    """A small random sound branch."""
    from pave.channels.imagebind.branch import SoundBranch

    torch.save(SoundBranch(64, 2, 4, 32, 128, 229).state_dict(), folder / "imagebind.pth")
    return {"weights": str(folder / "imagebind.pth"), "heads": 4}


def languagebind(folder: Path) -> dict[str, Any]:
    """A small random video tower."""
    from pave.channels.clip import ClipShape, ClipTower

    tower = ClipTower(ClipShape(32, 64, 3, 4, 14, 257, False, 8))
    torch.save(
        {f"vision_model.{key}": value for key, value in tower.state_dict().items()},
        folder / "languagebind.pt",
    )
    return {"weights": str(folder / "languagebind.pt"), "heads": 4}


def llava3d(folder: Path) -> dict[str, Any]:
    """A small random CLIP with a position embedding."""
    from pave.channels.clip import ClipShape, ClipTower
    from pave.channels.scene3d.llava3d import HEAD

    clip = ClipTower(ClipShape(32, 64, 3, 4, 14, 577, True)).state_dict()
    head = torch.nn.Sequential(
        torch.nn.Linear(3, 32), torch.nn.LayerNorm(32), torch.nn.ReLU(), torch.nn.Linear(32, 32)
    )
    named = {f"vision_model.{key}": value for key, value in clip.items()} | {
        f"{HEAD}{key}": value for key, value in head.state_dict().items()
    }
    torch.save(named, folder / "llava3d.pt")
    return {"weights": str(folder / "llava3d.pt"), "heads": 4}


def transformers_model(name: str) -> Callable[[Path], dict[str, Any]]:
    """A small random model of transformers in its ordinary folder."""

    def make(folder: Path) -> dict[str, Any]:
        import transformers as hf

        small = {
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
        }
        heads = {
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_layers": 2,
            "decoder_layers": 1,
        }
        tower = {
            "hidden_size": 64,
            "patch_embeds_hidden_size": 8,
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
        }
        network, extractor = {
            "clap": lambda: (
                hf.ClapAudioModelWithProjection(
                    hf.ClapAudioConfig(**tower, num_hidden_layers=4, enable_fusion=False)
                ),
                hf.ClapFeatureExtractor(truncation="rand_trunc"),
            ),
            "ast": lambda: (hf.ASTModel(hf.ASTConfig(**small)), hf.ASTFeatureExtractor()),
            "whisper": lambda: (
                hf.WhisperModel(
                    hf.WhisperConfig(d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, **heads)
                ),
                hf.WhisperFeatureExtractor(),
            ),
        }[name]()
        network.save_pretrained(folder / name)
        extractor.save_pretrained(folder / name)
        return {"model": str(folder / name)}

    return make


def features(folder: Path, video: Path, minutes: float) -> Source:
    """Precomputed tokens of the video."""
    np.save(folder / "features.npy", np.zeros((round(minutes * 60), 4, 64), np.float32))
    return folder / "features.npy"


def scene(folder: Path, video: Path, minutes: float) -> Source:
    """Depth and a moving camera, a frame a second; the pictures stay in the video."""
    count = round(minutes * 60)
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, 0, 3] = np.arange(count) / 10
    intrinsic = np.array([[60.0, 0, 31.5], [0, 60.0, 31.5], [0, 0, 1]])
    depth = np.full((count, 64, 64), 2000, np.uint16)
    np.savez(
        folder / "scene.npz",
        depth=depth,
        pose=pose,
        intrinsic=intrinsic,
        times=np.arange(count, dtype=np.float64),
    )
    return {"arrays": str(folder / "scene.npz"), "video": str(video)}


def plain(folder: Path, video: Path, minutes: float) -> Source:
    """The video itself."""
    return video


def two(folder: Path, video: Path, minutes: float) -> Source:
    """Two cameras."""
    return {"videos": [str(video), str(video)], "offsets": [0.0, 1.0]}


def fixed(**settings: Any) -> Callable[[Path], dict[str, Any]]:
    """Settings that need no files."""
    return lambda folder: settings


CASES: dict[str, tuple[Callable[[Path], dict[str, Any]], Callable[[Path, Path, float], Source]]] = {
    "audio/mel": (fixed(), plain),
    "audio/imagebind": (imagebind, plain),
    "audio/clap": (transformers_model("clap"), plain),
    "audio/ast": (transformers_model("ast"), plain),
    "audio/whisper": (transformers_model("whisper"), plain),
    "frames/tower": (fixed(fps=1.0), plain),
    "frames/languagebind": (languagebind, plain),
    "views/tower": (fixed(), two),
    "scene3d/tower3d": (fixed(), scene),
    "scene3d/llava3d": (llava3d, scene),
    "features/file": (fixed(dim=64), features),
}


def run_case(case: str, folder: Path, video: Path, minutes: float) -> dict[str, Any]:
    """Encode with one encoder, in this process."""
    torch.set_num_threads(1)
    settings, source = CASES[case]
    channel, _, name = case.partition("/")
    given = source(folder, video, minutes)
    needs = case in ("frames/tower", "views/tower", "scene3d/tower3d")
    encoder: Encoder = make_encoder(
        channel, name, settings(folder), tower=tower_of(load_base("smol")) if needs else None
    )
    _ = encoder.dim  # loads weights
    started = time.process_time()
    with peak_growth() as growth:
        tokens = encoder.encode(given)
        grew, peak = growth(), memory("VmHWM")
    assert tokens is not None
    return {
        "case": case,
        "tokens": list(tokens.values.shape),
        "cpu_seconds": round(time.process_time() - started, 1),
        "peak_mb": round(peak),
        "grew_mb": round(grew),
    }


def main() -> None:
    """Make the video, run every case in a child, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=sorted(CASES), help="one encoder")
    parser.add_argument("--video", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.video is not None:
            print(json.dumps(run_case(args.only, folder, args.video, args.minutes)))
            return
        video = folder / "long.mp4"
        film(video, args.minutes, args.width, args.height)
        words = ["--minutes", str(args.minutes), "--video", str(video)]
        rows = []
        for case in [args.only] if args.only else CASES:
            child = [sys.executable, __file__, *words, "--only", case]
            done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            if not args.json:
                row = rows[-1]
                print(
                    f"{row['case']:<20} {row['tokens']!s:<18} {row['cpu_seconds']:>7} CPU-s",
                    end=" ",
                )
                print(f"peak {row['peak_mb']:>5} MB, grew by {row['grew_mb']:>4} MB", flush=True)
        frames = args.minutes * 60 * FPS * args.width * args.height * 3 / MB
        if args.json:
            print(
                json.dumps(
                    {
                        "all_frames_mb": round(frames),
                        "video_mb": round(video.stat().st_size / MB, 1),
                        "cases": rows,
                    }
                )
            )
        else:
            print(
                f"all frames of the video would be {frames:,.0f} MB; its file has "
                f"{video.stat().st_size / MB:.1f} MB"
            )


if __name__ == "__main__":
    main()
