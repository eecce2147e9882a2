"""`Fusion` computes what the authors' own code computes, gradients included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pave.fusion import Fusion
from pave.fusion_costs import fusion_parameters
from pave.paper import (
    authors_name,
    fusion_config,
    load_fusion,
    side_from_batch,
    side_from_disk,
)

DATA = Path(__file__).parents[1] / "data" / "fusion"
CASES = sorted(path.stem for path in DATA.glob("*.safetensors"))


def read(name):
    return json.loads((DATA / f"{name}.json").read_text()), load_file(DATA / f"{name}.safetensors")


def inputs(info, data, dtype):
    query = [data[f"input.slow_feats.{i}"].to(dtype) for i in range(len(info["frame_nums"]))]
    return query, side_from_batch(data["input.side_feats"].to(dtype), data["input.frame_nums"])


@pytest.mark.parametrize("name", CASES)
def test_output(name):
    info, data = read(name)
    fusion = load_fusion(data, fusion_config(info["kwargs"])).eval()
    bound = 5e-2 if info["dtype"] == "bfloat16" else 2e-5
    for dtype in {torch.float32, getattr(torch, info["dtype"])}:
        with torch.inference_mode():
            out = torch.stack(fusion.to(dtype)(*inputs(info, data, dtype))).flatten(1, 2)
        assert out.dtype == dtype
        torch.testing.assert_close(out.float(), data["output"].float(), atol=bound, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_features_as_on_disk_are_the_batch(name):
    info, data = read(name)
    shape = {"vhw": tuple(info["vhw"])} if info["vhw"] else {}
    _, side = inputs(info, data, torch.float32)
    for i, expected in enumerate(side):
        got = side_from_disk(data[f"input.disk.{i}"], info["fast_feat_type"], **shape)
        assert torch.equal(got.float(), expected)


@pytest.mark.parametrize("name", CASES)
def test_garbage_in_the_padding_of_their_batch_never_matters(name):
    info, data = read(name)
    side = data["input.side_feats"].float().clone()
    for clip, length in zip(side, data["input.frame_nums"].tolist(), strict=True):
        clip[:, length:] = 1e3
    query, clean = inputs(info, data, torch.float32)
    assert all(map(torch.equal, side_from_batch(side, data["input.frame_nums"]), clean))


@pytest.mark.parametrize("name", [name for name in CASES if read(name)[0]["has_grads"]])
def test_gradients(name):
    info, data = read(name)
    fusion = load_fusion(data, fusion_config(info["kwargs"])).eval()
    batch = data["input.side_feats"].requires_grad_()
    query = [data[f"input.slow_feats.{i}"].requires_grad_() for i in range(len(batch))]
    out = torch.stack(fusion(query, side_from_batch(batch, data["input.frame_nums"]))).flatten(1, 2)
    (out * data["input.loss_weight"]).sum().backward()
    ours = {f"grad.{authors_name(key)}": p.grad for key, p in fusion.named_parameters()}
    ours |= {f"grad_input.slow_feats.{i}": q.grad for i, q in enumerate(query)} | {
        "grad_input.side_feats": batch.grad
    }
    theirs = {key: value for key, value in data.items() if key.startswith(("grad.", "grad_input."))}
    idle = {f"grad.{key}" for key in info["none_grads"]}
    assert len(theirs) > 10 and set(ours) == set(theirs) | idle
    for key, value in theirs.items():
        # Relative to the largest entry: their own float32 gradients are about as far from their
        # float64 ones.
        assert (ours[key] - value).abs().max() <= 2e-5 * max(1.0, value.abs().max().item()), key
    assert all(ours[key] is None for key in idle)


@pytest.mark.parametrize("name", CASES)
def test_parameter_count(name):
    info, _ = read(name)
    config = fusion_config(info["kwargs"])
    assert (
        fusion_parameters(config)
        == info["num_params"]
        == sum(p.numel() for p in Fusion(config).parameters())
    )


def test_upsampling_reaches_every_frame_where_the_authors_rounding_misses_one():
    config = fusion_config(
        {
            "input_dim": 4,
            "output_dim": 8,
            "embed_dim": 8,
            "fast_input_mapping_type": "linear",
            "query_input_dim": 4,
        }
        | {
            "cross_attn_hidden_dim": 8,
            "num_cross_attn_head": 2,
            "use_3d_rope": False,
            "use_dropout": False,
        }
    )
    fusion = Fusion(config).double().eval()
    query, side = torch.randn(64, 1, 4).double(), torch.randn(49, 1, 4).double()
    assert int(49 * (64 / 49)) == 63
    exact = torch.nn.functional.interpolate(
        side[:, 0].T[None], size=64, mode="linear", align_corners=True
    )[0].T[:, None]
    torch.testing.assert_close(fusion([query], [side])[0], fusion([query], [exact])[0])
