"""The lines of the README that run a file without zodi."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_plain_onnxruntime_runs_the_file(exported, street_set, tmp_path):
    blocks = README.read_text(encoding="utf-8").split("```python\n")[1:]
    (code,) = [block.partition("```")[0] for block in blocks if "onnxruntime" in block]
    assert "zodi." not in code and "import zodi" not in code
    assert len([line for line in code.splitlines() if line]) <= 12
    shutil.copytree(exported, tmp_path / "deployed")
    shutil.copy(street_set.samples[0].image, tmp_path / "street.png")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = ast.literal_eval(done.stdout)
    assert sum(counts.values()) == 32 * 64
    assert len(counts) > 1
