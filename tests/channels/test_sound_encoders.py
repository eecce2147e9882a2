"""ImageBind, LanguageBind, CLAP, AST and Whisper: files in, timed tokens out.

On tiny random weights.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.clips import mux, numbered, tone
from helpers.sounds import packed16, wav
from pave.cache import TokenCache
from pave.channels import Encoder, cache_key, make_encoder
from pave.channels.imagebind import branch
from pave.channels.imagebind.resample import can_resample
from pave.channels.weights import read_weights
from pave.errors import ChannelError
from pave.media import Sound, write_video
from pave.tokens import Tokens

DATA = Path(__file__).parents[1] / "data" / "encoders"
SETTINGS: dict[str, dict[str, Any]] = {
    "imagebind": {"weights": str(DATA / "imagebind.safetensors"), "heads": 4},
    "clap": {"step": 1.0},
    "ast": {"step": 0.5},
    "whisper": {"passage": 3, "step": 0.2},
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random models of transformers in their ordinary folders."""
    import transformers as hf

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    tower = {
        "hidden_size": 64,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
    }
    config = hf.ClapAudioConfig(
        **tower, num_classes=4, num_hidden_layers=4, enable_fusion=False, projection_dim=16
    )
    hf.ClapAudioModelWithProjection(config).save_pretrained(folder / "clap")
    hf.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder / "clap")
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    hf.ASTModel(hf.ASTConfig(**small)).save_pretrained(folder / "ast")
    hf.ASTFeatureExtractor().save_pretrained(folder / "ast")
    layers = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    whisper = hf.WhisperConfig(
        d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=51,
        pad_token_id=1, bos_token_id=1, eos_token_id=1,
        decoder_start_token_id=1, **layers,
    )  # fmt: skip
    hf.WhisperModel(whisper).save_pretrained(folder / "whisper")
    hf.WhisperFeatureExtractor().save_pretrained(folder / "whisper")
    return folder


def encoder(models: Path, name: str, **more: object) -> Any:
    where = {} if name == "imagebind" else {"model": str(models / name)}
    return make_encoder("audio", name, {**SETTINGS[name], **where, **more})


@pytest.mark.parametrize(
    ("name", "steps", "first"),
    [("imagebind", 4, 1.0), ("clap", 5, 1.0), ("ast", 11, 0.28), ("whisper", 28, 0.1)],
)
def test_from_a_clip(models: Path, tmp_path: Path, name: str, steps: int, first: float) -> None:
    """5.4 s of sound: documented windows, times that never leave the clip, the right width."""
    clip = write_video(tmp_path / "a.mp4", numbered(135), 25, tone(5.4, 44100), 44100)
    heard = encoder(models, name)
    tokens = heard.encode(clip)
    assert isinstance(heard, Encoder) and isinstance(tokens, Tokens)
    assert tokens.values.shape == (steps, 1, heard.dim)
    assert (
        float(tokens.times[0]) == pytest.approx(first, abs=0.06) and float(tokens.times[-1]) < 5.5
    )
    assert bool((tokens.times.diff() > 0).all())
    assert heard.encode(write_video(tmp_path / "silent.mp4", numbered(5), 25)) is None


@pytest.mark.parametrize("name", SETTINGS)
def test_very_short_and_late_sound(models: Path, name: str) -> None:
    """A click is one token at least; a track that starts late stays late."""
    rate = 48000 if name == "clap" else 16000
    tokens = encoder(models, name).encode_sound(
        Sound(torch.from_numpy(tone(0.02, rate)), rate, 3.0)
    )
    assert tokens.steps == 1 and 3.0 <= float(tokens.times[0]) < 3.2


@pytest.mark.parametrize("name", ["ast", "whisper"])
def test_passages_follow_one_another(models: Path, name: str) -> None:
    """Tokens of the second passage are those of the second passage alone, later."""
    seconds = 10.24 if name == "ast" else 3
    sound = (
        torch.randn(round(2 * seconds * 16000), generator=torch.Generator().manual_seed(0)) * 0.1
    )
    heard = encoder(models, name)
    whole = heard.encode_sound(Sound(sound, 16000, 0.0))
    second = heard.encode_sound(Sound(sound[len(sound) // 2 :], 16000, 0.0))
    torch.testing.assert_close(whole.values[-second.steps :], second.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.times[-second.steps :], second.times + seconds)


def test_whisper_is_transformers_whisper(models: Path) -> None:
    """A full 30 s passage gives the encoder's own states."""
    from transformers import WhisperFeatureExtractor, WhisperModel

    sound = torch.randn(30 * 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    tokens = encoder(models, "whisper", passage=30, step=0.02).encode_sound(
        Sound(sound, 16000, 0.0)
    )
    features = WhisperFeatureExtractor()(sound.numpy(), sampling_rate=16000, return_tensors="pt")[
        "input_features"
    ]
    with torch.no_grad():
        states = (
            WhisperModel.from_pretrained(models / "whisper")
            .encoder.eval()(features)
            .last_hidden_state[0]
        )
    torch.testing.assert_close(tokens.values[:, 0], states, rtol=0, atol=1e-5)


def test_imagebind_hears_the_left_channel(tmp_path: Path) -> None:
    """Sound on the right alone is nearly silence to it: the authors' quirk, kept."""
    heard = make_encoder("audio", "imagebind", SETTINGS["imagebind"])
    silence, sine = torch.zeros(48000), torch.from_numpy(tone(3.0))
    right, left = (
        heard.encode_sound(Sound(torch.stack(pair), 16000, 0.0))
        for pair in ((silence, sine), (sine, silence))
    )  # type: ignore[attr-defined]
    nothing = heard.encode_sound(Sound(torch.stack([silence, silence]), 16000, 0.0))  # type: ignore[attr-defined]
    assert float((left.values - nothing.values).norm()) > 5 * float(
        (right.values - nothing.values).norm()
    )
    torch.testing.assert_close(left.values.norm(dim=-1), torch.full((2, 1), 20.0))


def test_languagebind_from_a_clip(tmp_path: Path) -> None:
    """5 s at 25 fps: eight frames spread over the clip, four quadrants each, no class token."""
    clip = mux(tmp_path / "a.mp4", numbered(125))
    seen = make_encoder(
        "frames", "languagebind", {"weights": str(DATA / "languagebind.safetensors"), "heads": 4}
    )
    tokens = seen.encode(clip)
    assert tokens is not None and tokens.values.shape == (8, 4, 32) and seen.dim == 32
    assert tokens.times.tolist() == pytest.approx([int(124 / 7 * i) / 25 for i in range(8)])
    long = seen.encode(mux(tmp_path / "b.mp4", numbered(240)))
    assert long is not None and long.steps == 16


def test_weights_are_in_the_key_and_their_place_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy elsewhere, or by name in PAVE_WEIGHTS, is the same encoder; a new value another."""
    stored = load_file(DATA / "imagebind.safetensors")
    save_file(stored, tmp_path / "copy.safetensors")
    stored["modality_heads.audio.2.weight"] = stored["modality_heads.audio.2.weight"] + 1e-3
    save_file(stored, tmp_path / "other.safetensors")
    clip, store = (
        mux(tmp_path / "a.wav", sounds=[(0.0, tone(1.0))], sound_codec="pcm_s16le"),
        TokenCache(tmp_path / "store"),
    )

    def key(weights: str) -> str:
        return cache_key(
            store, make_encoder("audio", "imagebind", {"weights": weights, "heads": 4}), clip
        )

    same = key(str(tmp_path / "copy.safetensors"))
    monkeypatch.setenv("PAVE_WEIGHTS", str(tmp_path))
    assert (
        key(str(DATA / "imagebind.safetensors"))
        == same
        == key("copy.safetensors")
        != key("other.safetensors")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("modality_trunks.audio.blocks.1.attn.bias_k"),
            "lacks modality_trunks.audio.blocks.1.attn.bias_k",
        ),
        (
            lambda w: w.update({"modality_heads.audio.9.weight": torch.zeros(1)}),
            "unexpected modality_heads.audio.9",
        ),
        (
            lambda w: w.update({"modality_heads.audio.0.bias": torch.zeros(3)}),
            r"has shape \(3,\) instead of \(32,\)",
        ),
        (
            lambda w: [w.pop(key) for key in list(w) if "audio" in key],
            "does not contain the sound branch",
        ),
    ],
)
def test_strict_weights(tmp_path: Path, change: Any, message: str) -> None:
    stored = load_file(DATA / "imagebind.safetensors")
    change(stored)
    torch.save(stored, tmp_path / "x.pth")
    with pytest.raises(ChannelError, match=message):
        _ = make_encoder("audio", "imagebind", {"weights": str(tmp_path / "x.pth"), "heads": 4}).dim


def test_blocks_that_are_missing_at_the_end(tmp_path: Path, monkeypatch: Any) -> None:
    """The names of the others are whole: only the number of blocks of that network tells."""
    stored = load_file(DATA / "imagebind.safetensors")
    blocks = {key.split(".")[3] for key in stored if ".audio.blocks." in key}
    width = stored["modality_preprocessors.audio.cls_token"].shape[2]
    monkeypatch.setattr(branch, "_RELEASED", {width: len(blocks)})
    last = max(blocks, key=int)
    kept = {key: value for key, value in stored.items() if f".audio.blocks.{last}." not in key}
    torch.save(stored, tmp_path / "x.pth")
    assert make_encoder("audio", "imagebind", {"weights": str(tmp_path / "x.pth"), "heads": 4}).dim
    torch.save(kept, tmp_path / "x.pth")
    with pytest.raises(ChannelError, match=r"holds 1 of the 2 blocks .*download it again"):
        _ = make_encoder("audio", "imagebind", {"weights": str(tmp_path / "x.pth"), "heads": 4}).dim


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "model-1.safetensors")
    index = {"weight_map": {"a.weight": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ChannelError, match=r"lacks model-2\.safetensors, which .* lists"):
        read_weights(tmp_path, [""])
    save_file({"b": torch.zeros(2)}, tmp_path / "model-2.safetensors")
    assert set(read_weights(tmp_path, [""])) == {"a.weight", "b"}


def test_missing_weights(tmp_path: Path) -> None:
    """One sentence that names what to get from where."""
    with pytest.raises(ChannelError, match=r"imagebind_huge.pth.*PAVE_WEIGHTS"):
        _ = make_encoder("audio", "imagebind").dim
    (tmp_path / "x.pth").write_text("no weights")
    with pytest.raises(ChannelError, match="cannot be read as weights"):
        _ = make_encoder("audio", "imagebind", {"weights": str(tmp_path / "x.pth")}).dim
    for name in ("clap", "ast", "whisper"):
        with pytest.raises(ChannelError, match=f"audio/{name} cannot load .*set `model`"):
            _ = make_encoder("audio", name, {"model": str(tmp_path)}).dim


@pytest.mark.parametrize("name", ["clap", "ast", "whisper"])
def test_weights_with_holes_are_refused(models: Path, tmp_path: Path, name: str) -> None:
    """Transformers would draw random numbers, others in every process."""
    folder = tmp_path / name
    shutil.copytree(models / name, folder)
    tensors = load_file(folder / "model.safetensors")
    last = sorted(tensors)[-1]
    for kept in (
        {key: value for key, value in tensors.items() if key != last},
        {"stray": torch.zeros(1)},
    ):
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ChannelError, match=r"\d+ tensors? missing .*download it again"):
            _ = make_encoder("audio", name, {"model": str(folder)}).dim


@pytest.mark.parametrize("name", ["clap", "ast", "whisper"])
@pytest.mark.parametrize("prefix", ["", "larger."])
def test_a_network_is_not_cut_short(models: Path, tmp_path: Path, name: str, prefix: str) -> None:
    """The configuration asks for fewer layers than the file holds."""
    folder = tmp_path / name
    shutil.copytree(models / name, folder)
    place = folder / "model.safetensors"
    tensors = load_file(place)
    # A head that the encoder has no use for, as published folders hold one.
    head = {f"{prefix}classifier.0.weight": torch.zeros(2, 2)}
    save_file(tensors | head, place, metadata={"format": "pt"})
    assert make_encoder("audio", name, {"model": str(folder)}).dim > 0
    more = {
        prefix + re.sub(r"(layers?|blocks)\.0\.(?!blocks)", r"\1.7.", key): value.clone()
        for key, value in tensors.items()
    }
    save_file(more | head | tensors, place, metadata={"format": "pt"})
    with pytest.raises(ChannelError, match=r"more layers than its config.json .*\.7\."):
        _ = make_encoder("audio", name, {"model": str(folder)}).dim


@pytest.mark.parametrize("rate", [8000, 11025, 37800, 44101, 96000, 999_983])
def test_imagebind_hears_any_rate(tmp_path: Path, rate: int) -> None:
    """One that would need kernels of gigabytes is resampled by FFmpeg: the same tokens, nearly."""
    heard = make_encoder("audio", "imagebind", SETTINGS["imagebind"])
    wave = tone(3.0, rate)
    tokens = heard.encode(wav(tmp_path / "a.wav", packed16(wave), rate))
    wanted = heard.encode_sound(Sound(torch.from_numpy(tone(3.0)), 16000, 0.0))
    assert tokens is not None and tokens.times.tolist() == wanted.times.tolist()
    near = torch.nn.functional.cosine_similarity(tokens.values, wanted.values, dim=-1)
    assert float(near.min()) > 0.99
    if not can_resample(rate):
        with pytest.raises(ChannelError, match=f"cannot resample {rate:,} samples per second"):
            heard.encode_sound(Sound(torch.from_numpy(wave), rate, 0.0))
