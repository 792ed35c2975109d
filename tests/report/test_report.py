"""Pages: what is on them, that all text is escaped, that they stay small, and that a browser shows them."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import make_street
from PIL import Image
from turned import save_stored

from zodi.api import report
from zodi.errors import OutputError
from zodi.report.transfer import choose
from zodi.transfer.manifest import Manifest, Row

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def row(key, layout, **fields):
    scores = {"edges": 0.5, "distance": 0.1, "layout": layout, "classes": {"road": layout}}
    return Row("night", key, "ok", "hash", 0, seconds=0.5, scores=scores, **fields)


@pytest.fixture
def transfer(tmp_path: Path) -> Path:
    """A transfer of six images, keys a/0 to a/5, the worst last; the source is there."""
    source = make_street(tmp_path / "source", count=6)
    output = tmp_path / "out <i>"
    with Manifest(output / "manifest.jsonl") as manifest:
        for i in range(6):
            manifest.append(row(f"a/{i}", 0.9 - 0.1 * i))
            target = output / f"night/a/{i}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / f"images/a/{i}.png", target)
        manifest.append(Row("night", "a/broken", "failed", "hash", 0, error="truncated <img src=x onerror=alert(1)>"))
    run_json(output, source)
    return output


def run_json(output: Path, source: Path) -> None:
    settings = {"prompt": "driving at night & <b>rain</b>", "palette": "cityscapes", "control_resize": "nearest"}
    place = {
        "dataset": "folder",
        "root": str(source),
        "split": None,
        "condition": None,
        "labels": None,
        "label_set": None,
    }
    entry = {"hash": "hash", "images": 7, "settings": settings, "source": place}
    (output / "run.json").write_text(json.dumps({"versions": {"zodi": "0.1.0"}, "domains": {"night": entry}}))


def page_of(tmp_path, *runs, **options):
    report(runs, tmp_path / "page.html", **options)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_transfer_worst_first_with_source_and_control_map(transfer, tmp_path):
    page = page_of(tmp_path, transfer)
    keys = re.findall(r'alt="(a/\d), source"', page)
    assert keys[:3] == ["a/5", "a/4", "a/3"]
    assert sorted(keys) == [f"a/{i}" for i in range(6)]
    assert page.count('class="slider"') == 6
    assert page.count("<figcaption>control map") == 6
    assert "layout agreement 0.40" in page
    assert page.count('src="data:image/webp;base64,') == 18


def test_everything_is_escaped(transfer, tmp_path):
    page = page_of(tmp_path, transfer, title="<script>alert(1)</script>")
    for text in ("<script>alert", "<img src=x", "<b>rain", "out <i>"):
        assert text not in page
    for text in ("&lt;script&gt;alert", "&lt;img src=x", "&lt;b&gt;rain", "out &lt;i&gt;"):
        assert text in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # needs nothing beside itself


def test_without_the_source_results_stand_alone(transfer, tmp_path):
    shutil.rmtree(tmp_path / "source")
    page = page_of(tmp_path, transfer)
    assert "are not at" in page
    assert 'class="slider"' not in page
    assert page.count(', result"') == 6


def test_half_the_images_are_the_worst():
    rows = [row(f"{i:05d}", (i * 7919 % 10000) / 10000) for i in range(10000)]
    worst, others = choose(rows, 60)
    assert len(worst) == len(others) == 30
    assert max(r.scores["layout"] for r in worst) < min(r.scores["layout"] for r in others)
    assert choose(list(reversed(rows)), 60) == (worst, others)
    assert choose(rows[:5], 60)[0] + choose(rows[:5], 60)[1] == sorted(rows[:5], key=lambda r: r.scores["layout"])


@pytest.mark.slow
def test_ten_thousand_images_of_street_size_stay_below_30_megabytes(tmp_path):
    """Noise, which no codec makes small; only the images that are shown are on disk."""
    rng = np.random.default_rng(0)
    source, output = make_street(tmp_path / "source", count=1), tmp_path / "out"
    rows = [row(f"a/{i}", i / 10000) for i in range(10000)]
    output.mkdir()
    (output / "manifest.jsonl").write_text("".join(json.dumps(asdict(r)) + "\n" for r in rows))
    run_json(output, source)
    worst, others = choose(rows, 60)
    for shown in (*worst, *others):
        for path in (output / f"night/{shown.key}.png", source / f"images/{shown.key}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (256, 512, 3), dtype=np.uint8)).save(path)
        label = Image.fromarray(rng.choice(np.array([7, 8, 11], np.uint8), (64, 128))).resize((512, 256), 0)
        label.save(source / f"labels/{shown.key}.png")
    page = page_of(tmp_path, output)
    assert page.count('class="slider"') == 60
    assert len(page) < 30e6


def test_benchmarks(tmp_path):
    rows = [
        {"engine": "diffusers", "precision": "fp32", "batch": 4, "images_per_s": 0.5, "psnr_db": None},
        {"engine": "ort", "precision": "fp32", "batch": 4, "images_per_s": 1.0, "psnr_db": 61.234567},
    ]
    (tmp_path / "bench.json").write_text(json.dumps({"machine": {"cpu": "Test & Co"}, "rows": rows}))
    page = page_of(tmp_path, tmp_path / "bench.json")
    assert "* 0.500)" in page  # half of the longest
    assert "* 1.000)" in page
    assert "61.23" in page
    assert "Test &amp; Co" in page


def test_what_is_no_run(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="empty: is no run: give the output folder of zodi transfer, adapt"):
        page_of(tmp_path, tmp_path / "empty")
    (tmp_path / "bench.json").write_text("{")
    with pytest.raises(OutputError, match=r"bench\.json: cannot be read"):
        page_of(tmp_path, tmp_path / "bench.json")
    assert not (tmp_path / "page.html").exists()


def test_the_command(cli, transfer, tmp_path):
    done = cli("report", transfer, "-o", tmp_path / "page.html", "--title", "Night", "--images", 2)
    assert done.status == 0, done.stderr
    assert "MiB" in done.stdout
    assert (tmp_path / "page.html").read_text().count('class="slider"') == 2
    assert cli("report").status == 2


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_overflows_and_nothing_fails(transfer, tmp_path, width):
    page = page_of(tmp_path, transfer)
    probe = "<script>document.title = document.documentElement.scrollWidth + '/' + window.innerWidth</script></body>"
    framed = tmp_path / "framed.html"  # a browser window has a least width, a frame has none
    (tmp_path / "probed.html").write_text(page.replace("</body>", probe))
    framed.write_text(
        f"<iframe src='probed.html' style='width:{width}px;height:2000px;border:0' onload=\"document.title ="
        "frames[0].document.documentElement.scrollWidth + '/' + frames[0].innerWidth\"></iframe>"
    )
    arguments = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000", "--dump-dom", framed.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>(\d+)/(\d+)</title>", done.stdout)
    assert found is not None, done.stderr
    assert int(found[2]) == width
    assert int(found[1]) <= width
    assert "CONSOLE" not in done.stderr


def test_a_turned_source_is_shown_upright(tmp_path, transfer):
    before = page_of(tmp_path, transfer)
    for i in range(6):
        path = tmp_path / f"source/images/a/{i}.png"
        save_stored(Image.open(path).copy(), path, i + 3)
    assert page_of(tmp_path, transfer) == before


def test_files_that_cannot_be_read_do_not_end_a_page(tmp_path, transfer):
    (tmp_path / "source/images/a/1.png").write_bytes(b"no image")
    (transfer / "night/a/2.png").write_bytes(b"no image")
    page = page_of(tmp_path, transfer)
    assert page.count("is empty, truncated or not an image") == 2 and "Files that cannot be read" in page
    assert page.count('<input type="range"') == 4
