"""`zodi predict` on videos: a label for each frame, a video of overlays, and what cannot be read to its end."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from zodi.data import read_image
from zodi.errors import DataError, OutputError
from zodi.predicting import find_images, predict_images
from zodi.videos import Frame, VideoReader, VideoWriter

CODECS = {".mp4": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".mov": "mpeg4"}


def scene(number: int, size: tuple[int, int] = (48, 96)) -> np.ndarray:
    """Bands that move to the right, one step a frame."""
    height, width = size
    columns = (np.arange(width) + 4 * number) // 16 % 3
    return np.broadcast_to(
        np.array([(20, 200, 60), (220, 30, 30), (40, 60, 230)], np.uint8)[columns], (height, width, 3)
    )


def make_video(path: Path, frames: int = 12, size: tuple[int, int] = (48, 96), rate: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(CODECS[path.suffix], rate=rate, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(number, size)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> list[Frame]:
    with VideoReader(path) as reader:
        return list(reader)


@pytest.mark.parametrize("suffix", list(CODECS))
def test_every_frame_gets_its_label_and_its_overlay(cli, exported, tmp_path, suffix):
    video = make_video(tmp_path / f"drive{suffix}")
    done = cli("predict", exported / "model.onnx", video, "-o", tmp_path / "out", "--batch", 5, "--json", "-")
    assert done.status == 0, done.stderr
    labels, overlay = tmp_path / "out/labels/drive", tmp_path / "out/overlays/drive.mp4"
    content = json.loads(done.stdout)
    assert content["videos"] == {"drive": {"labels": str(labels), "frames": 12, "overlay": str(overlay)}}
    assert content["images"] == {}
    assert [path.name for path in sorted(labels.iterdir())] == [f"{i:06d}.png" for i in range(12)]
    stills = tmp_path / "stills"
    stills.mkdir()
    for number, frame in enumerate(shown(video)):
        Image.fromarray(frame.pixels).save(stills / f"{number:06d}.png")
    predict_images(exported / "model.onnx", [str(stills)], tmp_path / "one by one")
    colours = shown(overlay)
    assert len(colours) == 12
    for number in range(12):
        one = read_image(tmp_path / f"one by one/overlays/{number:06d}.png").astype(int)
        ids = np.asarray(Image.open(labels / f"{number:06d}.png"))
        assert np.array_equal(ids, np.asarray(Image.open(tmp_path / f"one by one/labels/{number:06d}.png")))
        assert np.abs(colours[number].pixels - one).mean() < 12  # H.264 keeps colours at half the size


def test_times_of_frames_stay(exported, tmp_path):
    """A camera's rate varies; frame 4 comes a second late."""
    video = tmp_path / "varying.mkv"
    times = [0, 40, 80, 120, 1160, 1200]
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt, stream.time_base = 48, 96, "yuv420p", Fraction(1, 1000)
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(number)), format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    predict_images(exported / "model.onnx", [str(video)], tmp_path / "out")
    with VideoReader(tmp_path / "out/overlays/varying.mp4") as reader:
        seconds = [float(frame.time * reader.time_base) for frame in reader]
    assert np.allclose(np.diff(seconds), np.diff(times) / 1000, atol=2e-3)


def test_a_turned_video_is_upright_and_a_side_may_be_odd(exported, tmp_path):
    """As telephones write it: stored on its side, with the turn beside it."""
    video = make_video(tmp_path / "plain.mp4")
    turned = tmp_path / "turned.mp4"
    with av.open(str(video)) as source, av.open(str(turned), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90) if hasattr(stream, "set_display_rotation") else pytest.skip("no way to turn it")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    assert shown(turned)[0].pixels.shape == (96, 48, 3)


def test_a_side_that_is_not_even(tmp_path):
    video = make_video(tmp_path / "plain.mp4")
    pixels = [np.ascontiguousarray(scene(number, (47, 95))) for number in range(3)]
    with VideoReader(video) as reader, VideoWriter(tmp_path / "odd.mp4", reader) as writer:
        for number, each in enumerate(pixels):
            writer.write(Frame(each, number * 1024))
        writer.close()
    frames = shown(tmp_path / "odd.mp4")
    assert [frame.pixels.shape for frame in frames] == [(48, 96, 3)] * 3
    assert np.abs(frames[0].pixels[:47, :95].astype(int) - pixels[0]).mean() < 15


def test_a_video_that_ends_too_early_keeps_what_there_is(cli, exported, tmp_path):
    whole = make_video(tmp_path / "whole.mp4", frames=40).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: 2 * len(whole) // 3])
    done = cli("predict", exported / "model.onnx", tmp_path / "cut.mp4", "-o", tmp_path / "out", "--json", "-")
    assert done.status == 1
    content = json.loads(done.stdout)
    frames = content["videos"]["cut"]["frames"]
    assert 0 < frames < 40
    assert len(list((tmp_path / "out/labels/cut").iterdir())) == frames == len(shown(tmp_path / "out/overlays/cut.mp4"))
    assert "it is truncated or damaged" in content["failed"][str(tmp_path / "cut.mp4")]
    assert len([line for line in done.stderr.splitlines() if "left out" in line]) == 1


@pytest.mark.parametrize("content", [b"", b"no video at all" * 9, b"\0\0\0\x18ftypmp42" + bytes(200)])
def test_what_is_no_video_is_told_and_the_rest_goes_on(cli, exported, street_set, tmp_path, content):
    place = tmp_path / "place"
    place.mkdir()
    (place / "broken.mp4").write_bytes(content)
    make_video(place / "fine.mp4", frames=3)
    Image.open(street_set.samples[0].image).save(place / "a.png")
    done = cli("predict", exported / "model.onnx", place, "-o", tmp_path / "out")
    assert done.status == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    assert len(told) == 1
    assert str(place / "broken.mp4") in told[0]
    assert "1 images, 3 frames of 1 videos predicted, 1 left out" in done.stdout
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_patterns_hidden_files_and_names(exported, tmp_path):
    place = tmp_path / "place"
    make_video(place / "a/one.mp4", frames=2)
    make_video(place / "two.mkv", frames=2)
    (place / "._two.mkv").write_bytes(b"\0\5\x16\7" + bytes(100))
    (place / "seen").symlink_to(place / "a")
    assert list(find_images([str(place)], videos=True)) == ["a/one", "seen/one", "two"]
    assert list(find_images([f"{place}/*.mkv", f"{place}/a/*.mp4"], videos=True)) == ["two", "one"]
    with pytest.raises(DataError, match="no image"):
        find_images([str(place)])  # where images are meant, videos are none
    (place / "two").mkdir()
    Image.new("RGB", (96, 48)).save(place / "two/000000.png")
    with pytest.raises(DataError, match=r"two.mkv: its labels would be in the folder of those of two/"):
        predict_images(exported / "model.onnx", [str(place)], tmp_path / "out")


def test_without_overlays_and_where_they_cannot_be_written(exported, tmp_path):
    video = make_video(tmp_path / "drive.mp4", frames=3)
    done = predict_images(exported / "model.onnx", [str(video)], tmp_path / "out", overlays=False)
    assert done.videos["drive"].overlay is None
    assert not (tmp_path / "out/overlays").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/overlays").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"move .*overlays away, a folder must be there"):
        predict_images(exported / "model.onnx", [str(video)], tmp_path / "other")


def test_memory_does_not_grow_with_the_length(exported, tmp_path):
    import resource

    def peak(frames: int) -> int:
        video = make_video(tmp_path / f"{frames}.mp4", frames, (240, 480))
        predict_images(exported / "model.onnx", [str(video)], tmp_path / "out", labels="grey")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    short = peak(60)  # longer than what encoders look ahead
    assert peak(160) - short < 100 * 240 * 480 * 3 / 1024 / 2  # KiB; less than half of the further frames


def test_frames_of_pictures_are_told(cli, exported, street_set, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    picture = Image.open(street_set.samples[0].image).convert("RGB")
    more = [picture.rotate(180), picture.rotate(90)]
    picture.save(place / "several.tif", save_all=True, append_images=more)
    picture.save(place / "moving.gif", save_all=True, append_images=more)
    picture.save(place / "one.png")
    done = cli("predict", exported / "model.onnx", place, "-o", tmp_path / "out")
    assert done.status == 0
    told = [line for line in done.stderr.splitlines() if "several frames" in line]
    assert len(told) == 1
    assert "of which the first is used: 2" in told[0]
    assert "moving.gif (3)" in told[0]
