"""The authors' encoders: our own code gives what theirs computes.

On reduced random weights under the official names.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from pave.bases.families.common import pooled
from pave.channels.clip import build_clip
from pave.channels.imagebind.branch import build_branch
from pave.channels.imagebind.front import STD, mel_filters, mel_windows, melspec
from pave.channels.imagebind.resample import resample
from pave.channels.languagebind import frame_count, pool_quadrants, preprocess
from pave.channels.scene3d.geometry import backproject, fit_depth, fit_intrinsic, patch_points
from pave.channels.scene3d.llava3d import Llava3dEncoder, Llava3dSettings
from pave.channels.views import ViewsEncoder, ViewsSettings
from pave.tokens import Tokens

DATA = Path(__file__).parents[1] / "data" / "encoders"
TABLES: dict[str, Any] = json.loads((DATA / "tables.json").read_text())


def part(name: str) -> dict[str, Tensor]:
    return load_file(DATA / f"{name}.safetensors")


def wave(stored: Tensor) -> Tensor:
    return stored.float() / 32768


def rounding(track: Tensor) -> Tensor:
    """`[128, frames]`: how far two float32 computations of one mel picture may lie apart.

    The logarithm turns a relative error of the power into an absolute one, and float32 has

    * eps of the largest mel, about 2840, in a filter's edges, over the 21 mel of its slope;
    * eps of the frame's length (its L2 norm) times the square root of the FFT's 9 stages in every
      amplitude A; as power A^2 that is 2 A times as much. A band 85 dB below its frame, as a sweep
      has many, is known to two digits only;
    * eps of the logarithm itself, at most 16.

    Computed in float64; each of the two may be that far off.
    """
    eps = 2.0**-23
    centred = (track - track.mean()).double()[0]
    frames = centred.unfold(0, 400, 160)  # [F, 400]
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    shaped = (frames - 0.97 * before) * torch.hann_window(400, periodic=False).double()
    power = torch.fft.rfft(shaped, n=512).abs() ** 2  # [F, 257]
    filters = mel_filters().double()  # [128, 257]
    levels = (power @ filters.T).clamp_min(eps)  # [F, 128]; the authors' floor is eps, too
    largest, slope = 1127 * math.log(1 + 8000 / 700), 21.7
    of_filters = eps * largest / slope * (power @ (filters > 0).double().T) / levels
    energy = shaped.square().sum(1, keepdim=True)  # [F, 1]
    of_spectrum = 2 * 9**0.5 * eps * (filters.sum(1) * energy / levels).sqrt()
    return (2 * (of_filters + of_spectrum + 16 * eps) / STD).T


@pytest.mark.parametrize(
    "case", ["noise_stereo_2s", "sweep_mono_2s", "short_mono_1p3s", "silence_mono_2s"]
)
def test_imagebind_mel(case: str) -> None:
    """Left channel only, zeros behind the end, the empty filter: equal up to float32's rounding."""
    stored = part("imagebind")
    track = wave(stored[f"mel.{case}.waveform_i16"])
    allowed = rounding(track)
    allowed = F.pad(allowed, (0, 204 - allowed.shape[1]), value=1e-6)[None, ::3, 1::2]
    error = (melspec(track)[:, ::3, 1::2] - stored[f"mel.{case}.mel"]).abs()
    assert bool((error <= allowed).all())
    assert float(error.max()) < 5e-3 and float(error.mean()) < 1e-4  # the tolerance of the fixture


def test_imagebind_windows_share_the_track() -> None:
    """A window's mean is taken off in place, so the overlap carries a step that two columns see.

    The track is left as it was.
    """
    track = torch.randn(2, 118400, generator=torch.Generator().manual_seed(0)) * 0.1
    track[:, 16000:32000] += 0.5
    before = track.clone()
    windows = mel_windows(track)
    assert windows.shape == (6, 1, 128, 204) and torch.equal(track, before)
    torch.testing.assert_close(windows[0], melspec(track[:, :32000].clone()))
    differ = (windows[1] - melspec(track[:, 16000:48000].clone())).abs().amax((0, 1)) > 0.02
    assert differ.nonzero().flatten().tolist() == [98, 99]


def test_imagebind_resampling() -> None:
    stored = part("imagebind")
    found = resample(wave(stored["r44100.waveform_i16"]), 44100)
    torch.testing.assert_close(found, stored["r44100.resampled"], rtol=0, atol=1e-6)


@torch.no_grad()
def test_imagebind_branch() -> None:
    """Extra key and value, two norms' epsilons, norm 20 at the end."""
    stored = part("imagebind")
    branch = build_branch({k: v for k, v in stored.items() if k.startswith("modality")}, 4, "file")
    torch.testing.assert_close(
        branch(stored["input.mel"]), stored["output.feature"], rtol=0, atol=1e-5
    )


def test_languagebind_sampling() -> None:
    for frames, fps, least, wanted in TABLES["frame_counts"]:
        assert frame_count(frames, fps, least) == wanted


@pytest.mark.parametrize("case", ["landscape_36x64", "portrait_53x30"])
def test_languagebind_preprocessing(case: str) -> None:
    stored = part("languagebind")
    found = preprocess(stored[f"{case}.frames"].permute(0, 3, 1, 2)).transpose(0, 1)
    torch.testing.assert_close(found[..., ::9, ::7], stored[f"{case}.sampled"], rtol=0, atol=1e-6)


@torch.no_grad()
def test_languagebind_tower() -> None:
    """Attention over time, then over space; states before the last layer; quadrant means."""
    stored = part("languagebind")
    weights = {
        key.removeprefix("vision_model."): value
        for key, value in stored.items()
        if key.startswith("vision_model.")
    }
    tower = build_clip(
        {**weights, "embeddings.position_ids": torch.arange(257)[None]}, 4, False, "file"
    )
    hidden = tower(stored["input.pixel_values"][0].transpose(0, 1))
    torch.testing.assert_close(hidden[None, :, ::16], stored["output.tower"], rtol=0, atol=5e-5)
    torch.testing.assert_close(pool_quadrants(hidden), stored["output.pooled"], rtol=0, atol=2e-5)


def test_llava3d_geometry() -> None:
    """Back-projection with holes, a patch's top-left pixel, nearest depth, moved intrinsics."""
    stored = part("llava3d")
    points = backproject(stored["A.depth"], stored["A.intrinsics"], stored["A.poses"])
    for grid in ((6, 8), (4, 5)):
        wanted = stored[f"A.patch_xyz_{grid[0]}x{grid[1]}"][0]
        torch.testing.assert_close(patch_points(points[0], grid), wanted, rtol=0, atol=1e-6)
    assert np.allclose(
        fit_depth(stored["B.depth_u16_60x80"].numpy(), 48),
        stored["B.depth_48x48"].numpy(),
        atol=1e-6,
    )
    given = stored["B.intrinsic_in"].numpy()
    found = fit_intrinsic(given, 80, 60, 48)
    assert np.allclose(found, stored["B.intrinsic_out"].numpy(), atol=1e-5) and given[0, 0] == 72.0
    for case, row in TABLES["intrinsics"].items():
        height, width = row["hw"]
        rows = fit_depth(np.tile(np.arange(height)[:, None], (1, width)), 336, 1.0)[:, 0]
        columns = fit_depth(np.tile(np.arange(width), (height, 1)), 336, 1.0)[0]
        assert rows.tolist() == stored[f"B.index_map.{case}.rows"].tolist()
        assert columns.tolist() == stored[f"B.index_map.{case}.cols"].tolist()
        matrix = np.array(
            [[row["in"][0], 0, row["in"][2]], [0, row["in"][1], row["in"][3]], [0, 0, 1]]
        )
        moved = fit_intrinsic(matrix, width, height, 336)
        assert np.allclose(
            [moved[0, 0], moved[1, 1], moved[0, 2], moved[1, 2]], row["out"], atol=1e-9
        )


def test_llava3d_features() -> None:
    """CLIP patches plus position embedding, all from one file under the official names."""
    stored = part("llava3d")
    encoder = Llava3dEncoder(Llava3dSettings(weights=str(DATA / "llava3d.safetensors"), heads=4))
    assert encoder.dim == 16
    found = encoder.fuse(
        *(stored[f"C.{name}"][0] for name in ("images", "depth", "intrinsics", "poses"))
    )
    torch.testing.assert_close(
        found.flatten(0, 1), stored["C.output_before_voxel_pooling"][0], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        encoder._head(stored["C.pe_points"]), stored["C.pe_points_out"], rtol=0, atol=1e-6
    )


class NoTower:
    """What `vary` asks of a tower."""

    dim, digest, frames_per_step = 4, "", 1


def test_views_pool_and_stack() -> None:
    """27 x 27 pooled to 14 x 14 as the authors' get_2dPool, cameras of a moment side by side."""
    stored = part("views")
    cameras = stored["input.siglip_tokens"]
    small = pooled(cameras.flatten(0, 1), 2, "bilinear").unflatten(0, cameras.shape[:2])
    torch.testing.assert_close(small, stored["output.pool_bilinear"], rtol=0, atol=1e-6)
    stacked = small.transpose(0, 1).flatten(
        0, 1
    )  # what ViewsEncoder.encode returns, see test_views
    wanted = stored["output.stacked_C_T_H_W"].permute(1, 2, 3, 0).flatten(1, 2)
    assert torch.equal(stacked.bfloat16(), wanted)


def test_random_views_are_the_authors_draw() -> None:
    """The same seed gives the same cameras in the same order; none of it touches what is stored."""
    encoder = ViewsEncoder(ViewsSettings(frames=2, random_views=True), NoTower())  # type: ignore[arg-type]
    values = torch.arange(6.0).view(2, 3, 1, 1).expand(2, 3, 1, 4)  # moment t, camera v: 3 t + v
    tokens = Tokens(values.flatten(0, 1).contiguous(), torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    files = ["cam01.pt", "cam02.pt", "cam03.pt"]
    for row in TABLES["views"]["random"]:
        found = encoder.vary(tokens, random.Random(row["python_random_seed"]))
        cameras = [files.index(name) for name in row["files_in_order"]]
        assert found.values[:, 0, 0].tolist() == [c + 3 * t for t in range(2) for c in cameras]
        assert found.steps == row["T"] and found.times.tolist() == [
            float(t) for t in range(2) for _ in cameras
        ]
    assert "random_views" not in encoder.identity and "random_views" in encoder.settings


def test_uniform_is_the_authors_linspace() -> None:
    from pave.media import Uniform
    from pave.media.sampling import choose

    for row in TABLES["views"]["linspace"]:
        assert (
            choose(np.arange(row["n_frames"], dtype=np.float64), Uniform(32)).tolist()
            == row["indices"]
        )


def test_antialiasing_would_be_seen() -> None:
    """The fixtures tell the two resizings apart, so the parity above means something."""
    frames = part("languagebind")["landscape_36x64.frames"].permute(0, 3, 1, 2).float()
    plain = F.interpolate(frames, (20, 30), mode="bilinear")
    assert (
        float(
            (plain - F.interpolate(frames, (20, 30), mode="bilinear", antialias=True)).abs().max()
        )
        > 1
    )
