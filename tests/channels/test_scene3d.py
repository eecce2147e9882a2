"""3D: scenes from ScanNet's layout and from arrays, world positions of cells, and both encoders."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

from helpers import tiny
from helpers.clips import number_of, numbered, rotate
from pave.bases import tower_of
from pave.channels import Window, make_encoder
from pave.channels.scene3d.geometry import backproject
from pave.channels.scene3d.matrices import read_alignment
from pave.channels.scene3d.scene import PosedFrame, open_scene
from pave.channels.scene3d.tower3d import cell_points, position_code
from pave.errors import ChannelError, MediaError
from pave.media import write_video
from pave.media.orientation import turned

WEIGHTS = Path(__file__).parents[1] / "data" / "encoders" / "llava3d.safetensors"
INTRINSIC = np.array([[40.0, 0, 31.5, 0], [0, 40.0, 31.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
ALIGN = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 1]])


def pose(step: int) -> np.ndarray:
    """The camera moves one metre a frame along x."""
    found = np.eye(4)
    found[0, 3] = step
    return found


def depth(step: int) -> np.ndarray:
    """A wall at 2 m, its upper left quarter at 1 m; one corner unknown."""
    found = np.full((64, 64), 2000, np.uint16)
    found[:32, :32] = 1000
    found[:8, :8] = 0
    return found


def scannet(folder: Path, frames: int = 5, lost: int | None = None, align: bool = True) -> Path:
    """A scene in ScanNet's layout."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    for step, picture in enumerate(numbered(frames)):
        Image.fromarray(picture).save(folder / "color" / f"{step}.png")
        Image.fromarray(depth(step)).save(folder / "depth" / f"{step}.png")
        np.savetxt(
            folder / "pose" / f"{step}.txt",
            np.full((4, 4), -np.inf) if step == lost else pose(step),
        )
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", INTRINSIC)
    if align:
        numbers = " ".join(map(str, ALIGN.flatten()))
        (folder / f"{folder.name}.txt").write_text(
            f"colorHeight = 968\naxisAlignment = {numbers}\n"
        )
    return folder


def arrays(file: Path, frames: int = 5, **more: np.ndarray) -> Path:
    """The same scene in one file, depth in metres."""
    content = {
        "color": np.stack(numbered(frames)),
        "depth": np.stack([depth(s) for s in range(frames)]) / 1000.0,
        "pose": np.stack([pose(s) for s in range(frames)]),
        "intrinsic": INTRINSIC[:3, :3],
        "axis_align": ALIGN,
    }
    np.savez(file, **{**content, **more})
    return file


def test_both_layouts_are_one_scene(tmp_path: Path) -> None:
    """Pictures, metres, poses and times agree; a lost frame is left out and keeps its number."""
    folder = open_scene(scannet(tmp_path / "scene0000_00", lost=1))
    poses = np.stack([pose(s) if s != 1 else np.full((4, 4), -np.inf) for s in range(5)])
    packed = open_scene(arrays(tmp_path / "a.npz", pose=poses))
    assert folder.count == packed.count == 4
    for index in range(4):
        one, two = folder.read(index), packed.read(index)
        assert (
            number_of(one.pixels)
            == number_of(two.pixels)
            == [0, 2, 3, 4][index]
            == one.time
            == two.time
        )
        assert np.array_equal(one.depth, two.depth) and one.depth.max() == 2.0
        assert torch.equal(one.pose, two.pose) and np.array_equal(one.intrinsic, two.intrinsic)
    assert folder.evenly(3) == [0, 1, 3] and folder.evenly(99) == [0, 1, 2, 3]
    assert folder.read(3).pose[:3, 3].tolist() == pytest.approx([0.0, 4.0, 0.5])


def test_a_flat_folder_is_the_same_scene(tmp_path: Path) -> None:
    """`posed_images`: a frame's files side by side; the pictures' own intrinsic is not used."""
    scene = scannet(tmp_path / "scene0000_00", lost=1)
    flat = tmp_path / "posed_images" / scene.name
    flat.mkdir(parents=True)
    for step in range(5):
        Image.open(scene / "color" / f"{step}.png").save(flat / f"{step:05}.jpg", quality=100)
        for part, suffix in (("depth", "png"), ("pose", "txt")):
            (flat / f"{step:05}.{suffix}").write_bytes(
                (scene / part / f"{step}.{suffix}").read_bytes()
            )
    (flat / "depth_intrinsic.txt").write_bytes(
        (scene / "intrinsic" / "intrinsic_depth.txt").read_bytes()
    )
    np.savetxt(flat / "intrinsic.txt", 2 * np.eye(4))
    one, two = (
        open_scene(scene),
        open_scene({"folder": str(flat), "axis_align": str(scene / f"{scene.name}.txt")}),
    )
    assert two.count == one.count == 4
    for index in range(4):
        left, right = one.read(index), two.read(index)
        assert number_of(right.pixels) == number_of(left.pixels) and right.time == left.time
        assert np.array_equal(right.depth, left.depth) and torch.equal(right.pose, left.pose)
        assert np.array_equal(right.intrinsic, INTRINSIC)


def test_pictures_of_the_clips_video(tmp_path: Path) -> None:
    """Arrays without pictures take them from the video, at their times."""
    video = write_video(tmp_path / "a.mp4", numbered(50), 25)
    file = arrays(tmp_path / "a.npz", times=np.array([0.0, 0.4, 0.8, 1.2, 1.6]))
    scene = open_scene({"arrays": str(file), "video": str(video)})
    assert [number_of(scene.read(i).pixels) for i in range(5)] == [0, 10, 20, 30, 40]


def test_alignment_from_elsewhere(tmp_path: Path) -> None:
    folder = scannet(tmp_path / "scene", align=False)
    np.savetxt(tmp_path / "upright.txt", ALIGN)
    scene = open_scene(
        {"folder": str(folder), "axis_align": str(tmp_path / "upright.txt"), "fps": 2.0}
    )
    assert scene.read(2).pose[1, 3] == 2.0 and scene.read(2).time == 1.0
    assert open_scene(folder).read(2).pose[0, 3] == 2.0


def test_cells_lie_where_their_pixels_are(tmp_path: Path) -> None:
    """Mean position of the pixels with depth; a hole is not the camera; a crop moves cells."""
    frame = PosedFrame(
        torch.zeros(3, 64, 64, dtype=torch.uint8), depth(0) / 1000.0, INTRINSIC, torch.eye(4), 0.0
    )
    points, known = cell_points(frame, Window(), (2, 2))
    assert bool(known.all()) and points[..., 3].tolist() == [[1.0, 2.0], [2.0, 2.0]]
    assert points[1, 1, :3].tolist() == pytest.approx([(47.5 - 31.5) * 2 / 40] * 2 + [2.0])
    fine, known = cell_points(frame, Window(), (8, 8))
    assert known.sum() == 63 and not known[0, 0] and fine[0, 0].tolist() == [0, 0, 0, 0]
    middle, _ = cell_points(frame, Window(0.5, 0.5, 0.5, 0.5), (1, 1))
    torch.testing.assert_close(middle[0, 0], points[1, 1])


def test_a_cell_may_stand_where_its_nearest_pixel_is() -> None:
    """The mean of a small thing and the wall behind is nowhere; the nearest pixel is on it."""
    metres = np.full((64, 64), 4.0)
    metres[40:44, 8:12] = 1.0
    metres[:32, 32:] = 0.0
    frame = PosedFrame(
        torch.zeros(3, 64, 64, dtype=torch.uint8), metres, INTRINSIC, torch.eye(4), 0.0
    )
    points, known = cell_points(frame, Window(), (2, 2), "nearest")
    assert points[..., 3].tolist() == [[4.0, 0.0], [1.0, 4.0]] and known.tolist() == [
        [True, False],
        [True, True],
    ]
    x, y = ((points[1, 0, :2]) * 40 + 31.5).tolist()
    assert 8 <= x < 12 and 40 <= y < 44
    assert 3.9 < float(cell_points(frame, Window(), (2, 2))[0][1, 0, 3]) < 4.0


def test_position_code() -> None:
    """Zero without depth; near places have near codes; the same place has the same code."""
    places = torch.tensor([[1.0, 2.0, 0.5, 3.0], [1.1, 2.0, 0.5, 3.0], [4.0, 2.0, 0.5, 3.0]])
    code = position_code(places, torch.tensor([True, True, True]), 6, 16.0)
    assert code.shape == (3, 53) and float((code[0] - code[1]).norm()) < float(
        (code[0] - code[2]).norm()
    )
    assert not position_code(places, torch.zeros(3, dtype=torch.bool), 6, 16.0).any()


@pytest.mark.parametrize("family", ["llava_onevision", "llava_next_video", "qwen2_vl", "smolvlm"])
def test_tower3d(family: str, tmp_path: Path) -> None:
    """The base's tokens of each frame, then the code; a folder and arrays give the same."""
    tower = tower_of(tiny.base(family))
    encoder = make_encoder("scene3d", "tower3d", {"frames": 3, "side": 2}, tower=tower)
    tokens = encoder.encode(scannet(tmp_path / "scene"))
    again = encoder.encode(arrays(tmp_path / "a.npz"))
    assert tokens is not None and again is not None
    assert tokens.values.shape == (3, 4, tower.dim + 53) == (
        3,
        4,
        encoder.dim,
    ) and tokens.times.tolist() == [0, 2, 4]
    torch.testing.assert_close(tokens.values, again.values, rtol=0, atol=1e-5)
    x = tokens.values[:, :, tower.dim + 1]  # the world is turned: the camera's x is the room's y
    assert bool((x.diff(dim=0) > 0).all())


def test_llava3d(tmp_path: Path) -> None:
    """From files to tokens under the official names; another alignment gives other tokens."""
    encoder = make_encoder("scene3d", "llava3d", {"weights": str(WEIGHTS), "heads": 4, "frames": 2})
    tokens = encoder.encode(scannet(tmp_path / "scene"))
    assert (
        tokens is not None
        and tokens.values.shape == (2, 36, 16)
        and tokens.times.tolist() == [0, 4]
    )
    other = encoder.encode(scannet(tmp_path / "other", align=False))
    assert other is not None and not torch.equal(tokens.values, other.values)


def test_llava3d_parts_from_two_files(tmp_path: Path) -> None:
    """CLIP may come from its own checkpoint, under its own prefix."""
    stored = load_file(WEIGHTS)
    clip = {
        k.partition("vision_tower.vision_tower.")[2]: v
        for k, v in stored.items()
        if "vision_tower.vision_tower." in k
    }
    save_file(clip, tmp_path / "clip.safetensors")
    save_file(
        {k: v for k, v in stored.items() if "position_embedding_head" in k},
        tmp_path / "head.safetensors",
    )
    files = {
        "weights": str(tmp_path / "head.safetensors"),
        "clip": str(tmp_path / "clip.safetensors"),
        "heads": 4,
        "frames": 1,
    }
    whole = make_encoder("scene3d", "llava3d", {"weights": str(WEIGHTS), "heads": 4, "frames": 1})
    scene = scannet(tmp_path / "scene")
    one, two = make_encoder("scene3d", "llava3d", files).encode(scene), whole.encode(scene)
    assert one is not None and two is not None and torch.equal(one.values, two.values)


def test_broken_scenes(tmp_path: Path) -> None:
    """Each says which file and what is wrong with it."""
    scene = scannet(tmp_path / "scene")
    (scene / "pose" / "3.txt").write_text("1 2 3")
    with pytest.raises(ChannelError, match=r"3.txt.*4 x 4"):
        open_scene(scene)
    (scene / "pose" / "3.txt").unlink()
    with pytest.raises(ChannelError, match=r"3.txt.*every frame"):
        open_scene(scene)
    cases = {
        "has no folder color": str(tmp_path),
        "either `folder` or `arrays`": {"folder": "a", "arrays": "b"},
        "colour": {"folder": "a", "colour": "b"},
        "lacks pose": arrays_without(tmp_path / "b.npz", "pose"),
        "holds no `color`": arrays_without(tmp_path / "c.npz", "color"),
        "times has shape": str(arrays(tmp_path / "d.npz", times=np.zeros(3))),
        "no frame has a finite pose": str(
            arrays(tmp_path / "e.npz", pose=np.full((5, 4, 4), np.nan))
        ),
    }
    for message, source in cases.items():
        with pytest.raises(ChannelError, match=message):
            open_scene(source)
    with pytest.raises(MediaError, match="no such file"):
        open_scene(str(tmp_path / "none.npz"))


Z, EYES = np.zeros, np.stack([np.eye(4)] * 5)
ODD: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "upright 3 x 3": ({"axis_align": np.eye(3)}, "axis_align must be 4 x 4"),
    "upright nan": ({"axis_align": np.full((4, 4), np.nan)}, "axis_align must be 4 x 4 finite"),
    "upright text": (
        {"axis_align": np.array(["a"])},
        "'axis_align' in it is not an array of real numbers",
    ),
    "camera number": ({"intrinsic": Z(())}, "intrinsic must be 4 x 4 or 3 x 3"),
    "camera row": ({"intrinsic": Z((5, 4, 4))}, "intrinsic must be 4 x 4 or 3 x 3"),
    "camera zero": ({"intrinsic": Z((4, 4))}, "focal lengths.* are positive"),
    "camera nan": ({"intrinsic": np.full((3, 3), np.nan)}, "intrinsic must be .* finite"),
    "pose 3 x 4": ({"pose": EYES[:, :3]}, "pose has shape .* instead of frames x 4 x 4"),
    "pose number": ({"pose": Z(())}, "pose has shape"),
    "pose complex": ({"pose": EYES * 1j}, "'pose' in it is not an array of real numbers"),
    "depth flat": ({"depth": Z((5, 0, 8))}, "depth has shape"),
    "depth fewer": ({"depth": np.ones((4, 8, 8))}, "depth has shape .* the same 5 frames"),
    "color rgba": ({"color": Z((5, 8, 8, 4), np.uint8)}, "color has shape"),
    "color floats": ({"color": Z((5, 8, 8, 3))}, "color must be uint8"),
    "times nan": ({"times": np.full(5, np.nan)}, "times must be finite"),
    "depth nan": ({"depth": np.full((5, 8, 8), np.nan)}, "depth of frame 0 holds NaN.*write 0"),
}


@pytest.mark.parametrize("case", ODD)
def test_arrays_that_do_not_fit(tmp_path: Path, case: str) -> None:
    """The file, the array and what it should be, in one line."""
    content, message = ODD[case]
    with pytest.raises(ChannelError, match=message) as caught:
        open_scene(str(arrays(tmp_path / "a.npz", **content))).read(0)
    assert "a.npz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["cut", "empty", "text", "npy", "folder", "objects", "not arrays"])
def test_archives_that_are_none(tmp_path: Path, case: str) -> None:
    """Damaged, renamed, or with Python objects in it."""
    file = arrays(tmp_path / "a.npz")
    if case in ("cut", "empty", "text"):
        file.write_bytes(
            {"cut": file.read_bytes()[:-100], "empty": b"", "text": b"words " * 50}[case]
        )
    elif case == "npy":
        np.save(tmp_path / "b.npy", np.zeros(4))
        (tmp_path / "b.npy").rename(file)
    elif case == "folder":
        file.unlink()
        file.mkdir()
    elif case == "objects":
        arrays(file, depth=np.array([{}], dtype=object))
    else:
        with zipfile.ZipFile(file, "w") as archive:
            for name in ("depth", "pose", "intrinsic"):
                archive.writestr(f"{name}.npy", "words")
    with pytest.raises(
        ChannelError, match=r"a\.npz: (cannot be read as arrays|is a folder)"
    ) as caught:
        open_scene(str(file))
    assert "pickle" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_whose_camera_is_none(tmp_path: Path) -> None:
    """A focal length of zero would put every pixel at infinity; so would a void alignment."""
    scene = scannet(tmp_path / "scene")
    np.savetxt(scene / "scene.txt", np.full((4, 4), np.nan))
    with pytest.raises(ChannelError, match=r"scene\.txt: axis_align must be 4 x 4 finite"):
        open_scene(scene)
    (scene / "scene.txt").unlink()
    np.savetxt(scene / "intrinsic" / "intrinsic_depth.txt", np.zeros((4, 4)))
    with pytest.raises(ChannelError, match=r"intrinsic_depth\.txt: intrinsic must be"):
        open_scene(scene)
    with pytest.raises(ChannelError, match="has no folder color"):
        open_scene("x" * 300)
    with pytest.raises(ChannelError, match="fps: Input should be a finite number"):
        open_scene({"folder": str(scene), "fps": float("inf")})


def arrays_without(file: Path, name: str) -> str:
    arrays(file)
    with np.load(file) as content:
        rest = {key: content[key] for key in content.files if key != name}
    np.savez(file, **rest)
    return str(file)


def test_a_scan_without_an_alignment_is_not_turned(tmp_path: Path) -> None:
    """ScanNet's test scans: their scene files have every other line."""
    lines = "colorHeight = 968\ncolorToDepthExtrinsics = 1 0 0 0\nsceneType = Kitchen\n"
    for name, text in (("scene0707_00", lines), ("scene0708_00", "\ufeff" + lines)):
        scene = scannet(tmp_path / name, align=False)
        (scene / f"{name}.txt").write_text(text, encoding="utf-8")
        for source in (
            str(scene),
            {"folder": str(scene), "axis_align": str(scene / f"{name}.txt")},
        ):
            np.testing.assert_allclose(open_scene(source).read(1).pose, pose(1), rtol=1e-6)


def test_an_alignment_is_found_however_it_is_written(tmp_path: Path) -> None:
    numbers = " ".join(map(str, ALIGN.flatten()))
    for number, line in enumerate(
        (
            f"axisAlignment = {numbers}",
            f"  axisAlignment={numbers} ",
            f"\ufeffaxisAlignment = {numbers}",
        )
    ):
        (tmp_path / f"{number}.txt").write_text(f"{line}\nsceneType = Kitchen\n", encoding="utf-8")
        np.testing.assert_array_equal(read_alignment(tmp_path / f"{number}.txt"), ALIGN)
    (tmp_path / "short.txt").write_text("axisAlignment = 1 2 3\n")
    with pytest.raises(ChannelError, match="must be 16 numbers"):
        read_alignment(tmp_path / "short.txt")


@pytest.mark.parametrize("flat", [False, True])
def test_a_camera_of_three_rows_is_that_of_four(tmp_path: Path, flat: bool) -> None:
    scene = scannet(tmp_path / "scene")
    camera = scene / "intrinsic" / "intrinsic_depth.txt"
    if flat:  # mmdetection3d's layout
        for part in ("color", "depth", "pose"):
            for file in (scene / part).iterdir():
                name = file.name
                if part == "color":
                    Image.open(file).convert("RGB").save(scene / f"{file.stem}.jpg")
                    continue
                file.rename(scene / name)
        camera = scene / "depth_intrinsic.txt"
    np.savetxt(camera, INTRINSIC)
    four = open_scene(scene).read(2)
    np.savetxt(camera, INTRINSIC[:3, :3])
    three = open_scene(scene).read(2)
    np.testing.assert_array_equal(three.intrinsic, four.intrinsic)
    np.testing.assert_array_equal(three.depth, four.depth)
    np.savetxt(camera, INTRINSIC[:2, :3])
    with pytest.raises(ChannelError, match="4 x 4 or 3 x 3"):
        open_scene(scene)


def test_depth_of_other_units(tmp_path: Path) -> None:
    """Matterport3D's unit is a quarter of a millimetre, so 4000 make a metre."""
    scene = scannet(tmp_path / "scene")
    metres = open_scene(scene).read(1).depth
    quarter = open_scene({"folder": str(scene), "depth_scale": 4000}).read(1).depth
    np.testing.assert_allclose(quarter * 4, metres)
    whole = np.stack([depth(s) for s in range(5)])
    packed = str(arrays(tmp_path / "a.npz", depth=whole))
    np.testing.assert_allclose(
        open_scene({"arrays": packed, "depth_scale": 4000}).read(1).depth, whole[1] / 4000
    )
    for odd in (0, -1, "x", float("nan")):
        with pytest.raises(ChannelError, match="depth_scale"):
            open_scene({"folder": str(scene), "depth_scale": odd})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_takes_depth_camera_and_pose_with_it(
    tmp_path: Path, orientation: int
) -> None:
    """Every pixel keeps its colour and its place in the world; the picture is Pillow's."""
    stored = open_scene(scannet(tmp_path / "plain")).read(2)
    scene = scannet(tmp_path / "turned", align=False)
    (scene / "axis_align.txt").write_text("\n".join(" ".join(map(str, row)) for row in ALIGN))
    for file in (scene / "color").iterdir():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(file).save(file, exif=exif.tobytes())
    shown = open_scene(scene).read(2)
    with Image.open(scene / "color" / "2.png") as picture:
        want = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    np.testing.assert_array_equal(shown.pixels.permute(1, 2, 0), want)
    np.testing.assert_allclose(
        places(shown), np.asarray(turned(places(stored), orientation)), atol=1e-5
    )


def places(frame: PosedFrame) -> np.ndarray:
    """`[h, w, 3]` where every pixel of a frame lies in the world."""
    pixels = torch.from_numpy(frame.depth)
    camera = torch.from_numpy(frame.intrinsic)
    return backproject(pixels, camera, frame.pose.double()).numpy()


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_a_turned_video_takes_depth_camera_and_pose_with_it(tmp_path: Path, clockwise: int) -> None:
    """A phone held upright: film and depth are stored as the sensor saw them, and shown turned."""
    plain = write_video(tmp_path / "plain.mp4", numbered(50), 25)
    film = rotate(plain, tmp_path / "film.mp4", clockwise)
    file = arrays(tmp_path / "a.npz", times=np.array([0.0, 0.4, 0.8, 1.2, 1.6]))
    stored = open_scene({"arrays": str(file), "video": str(plain)}).read(2)
    shown = open_scene({"arrays": str(file), "video": str(film)}).read(2)
    quarters = -clockwise // 90  # numpy counts them the other way round
    np.testing.assert_array_equal(
        shown.pixels.permute(1, 2, 0), np.rot90(stored.pixels.permute(1, 2, 0), quarters)
    )
    np.testing.assert_allclose(places(shown), np.rot90(places(stored), quarters), atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_beside_arrays(tmp_path: Path, orientation: int) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for step, picture in enumerate(numbered(5)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(folder / f"{step}.png", exif=exif.tobytes())
    file = arrays(tmp_path / "a.npz")
    shown = open_scene({"arrays": str(file), "video": str(folder)}).read(2)
    with Image.open(folder / "2.png") as picture:
        want = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    np.testing.assert_array_equal(shown.pixels.permute(1, 2, 0), want)
    stored = places(open_scene(str(file)).read(2))
    np.testing.assert_allclose(places(shown), turned(stored, orientation), atol=1e-5)


def test_depth_that_is_turned_already_stays(tmp_path: Path) -> None:
    scene = scannet(tmp_path / "scene")
    for step in range(5):  # wider than high
        Image.fromarray(depth(step)[:48]).save(scene / "depth" / f"{step}.png")
        color = scene / "color" / f"{step}.png"
        Image.open(color).crop((0, 0, 64, 48)).save(color)
    before = open_scene(scene).read(0)
    for file in (scene / "color").iterdir():
        exif = Image.Exif()
        exif[0x0112] = 6
        # Stored lying on its side, so that it is shown as the depth map lies.
        lying = Image.open(file).transpose(Image.Transpose.ROTATE_90)
        lying.save(file, exif=exif.tobytes())
    after = open_scene(scene).read(0)
    np.testing.assert_array_equal(after.depth, before.depth)
    np.testing.assert_array_equal(after.pose, before.pose)
    np.testing.assert_array_equal(after.pixels, before.pixels)


def test_hidden_files_in_a_scan(tmp_path: Path) -> None:
    scene = scannet(tmp_path / "scene")
    for part in ("color", "depth", "pose"):
        for name in ("._0.png", "._0.jpg", "._0.txt", ".DS_Store", "Thumbs.db"):
            (scene / part / name).write_bytes(b"\x00\x05\x16\x07")
    assert open_scene(scene).count == 5


def test_a_scene_behind_a_link_is_turned_by_its_own_file(tmp_path: Path) -> None:
    """Which is called like the scene, whatever the link is called."""
    scene = scannet(tmp_path / "data" / "scene0000_00")
    wanted = open_scene(str(scene)).read(1).pose
    (tmp_path / "scan").symlink_to(scene)
    for name in (str(tmp_path / "scan"), f"{scene}/", f"{scene}/.", f"{scene}/../{scene.name}"):
        assert torch.equal(open_scene(name).read(1).pose, wanted)


def test_a_scene_in_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scannet(tmp_path / "scene0000_00")
    wanted = open_scene(str(scene)).read(1).pose
    monkeypatch.chdir(scene)
    assert torch.equal(open_scene(".").read(1).pose, wanted)


@pytest.mark.parametrize("name", ["axis_align.txt", "scene.txt"])
def test_an_alignment_that_is_no_file_is_not_passed_over(tmp_path: Path, name: str) -> None:
    """The scene would silently lie on its side."""
    scene = scannet(tmp_path / "scene", align=False)
    for make in (os.mkfifo, os.mkdir, lambda place: os.symlink("gone", place)):
        make(scene / name)
        with pytest.raises(ChannelError, match=name):
            open_scene(str(scene))
        place = scene / name
        place.rmdir() if place.is_dir() else place.unlink()
    (scene / name).touch()
    with pytest.raises(ChannelError, match=rf"{name}: is empty"):
        open_scene(str(scene))
