"""CPU seconds and bytes of one Cityscapes-size image in each stage of a run on Ray, without engine and without Ray.

    python benchmarks/ray_stages.py [--images 8]

CPU time, not wall time: it says what a core must give, also on a machine that does other things meanwhile.
"""

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from transfer_io import INFO, make_sources

from zodi import __version__
from zodi.data import open_dataset
from zodi.transfer.items import Target
from zodi.transfer.ray_stages import Setup, load_stage, pack, unpack, write_stage
from zodi.transfer.results import Result
from zodi.transfer.settings import TransferSettings


def no_engine(*arguments: object) -> NoReturn:
    """The stages that are measured open none."""
    raise AssertionError(arguments)


def cpu_seconds(stage: Callable[[Any], object], things: Sequence[Any]) -> tuple[float, list[Any]]:
    """Mean CPU seconds of a stage, and what it gives."""
    start = time.process_time()
    given = [stage(thing) for thing in things]
    return (time.process_time() - start) / len(things), given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=8)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as scratch:
        root, output = Path(scratch, "in"), Path(scratch, "out")
        make_sources(root, images, distinct=images)
        output.mkdir()
        (output / "run.json").write_text("{}")
        dataset, target = open_dataset("folder", root), Target("night", "0")
        setup = Setup(dataset, output, INFO, TransferSettings(), (target,), open=no_engine)
        version, content = __version__, pickle.dumps(setup)
        inputs = [pack([(sample, [])]) for sample in dataset.samples]
        load, loaded = cpu_seconds(lambda table: next(load_stage(table, version, content)), inputs)
        carry, items = cpu_seconds(lambda table: next(unpack(table)), loaded)
        results = [Result(item, target, 0, item.image.copy()) for item in items]
        pack_seconds, packed = cpu_seconds(lambda result: pack([result]), results)
        write, _ = cpu_seconds(lambda table: list(write_stage(table, version, content)), packed)
        size = sum(path.stat().st_size for path in output.rglob("*.png")) / images
    print(f"read   {load:.3f} CPU s/image, {loaded[0].nbytes / 2**20:.1f} MiB to the engine")
    print(f"engine {carry + pack_seconds:.3f} CPU s/image to unpack and pack")
    print(f"write  {write:.3f} CPU s/image, {packed[0].nbytes / 2**20:.1f} MiB from it, {size / 2**20:.1f} MiB file")


if __name__ == "__main__":
    main()
