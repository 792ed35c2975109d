"""A run over a data set on Ray Data: images are read and written by tasks, engines are actors, rows come back here.

The stages are those of a run in one process, see `zodi.transfer.ray_stages`. Blocks are small and Ray holds back what
would not fit into its object store, so that memory does not grow with the number of images.
"""

import logging
import os
import pickle
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from zodi import __version__
from zodi.data import Sample
from zodi.errors import EngineError, SettingsError, ZodiError
from zodi.transfer.manifest import Manifest, Row
from zodi.transfer.progress import Progress, Recorder
from zodi.transfer.ray_stages import EngineStage, Event, Setup, Skipped, load_stage, pack, unpack, write_stage

LOCAL = "local"
REACH_SECONDS = 10.0  # for a cluster's head to answer
STORE_BYTES = 2**30  # object store of a local Ray; beyond it, Ray goes on with files in its temporary folder
BLOCK_BYTES = 32 * 2**20  # nine images of 512x1024 with control map and label
BLOCKS_PER_ENGINE = 8  # at least, where there are images enough: engines end together, and progress shows early
MOST_BLOCKS = 10_000  # of input: more cost the scheduler more than they bring
IDLE_MILLISECONDS = "600000"  # after 1,000, its default, Ray ends processes; each new one imports PyTorch for 3 s
ENGINE_SHARE = 0.75  # of the CPUs, where engines run on CPUs; the rest reads and writes


@dataclass(frozen=True)
class Cluster:
    """What a run takes of a cluster.

    device     of the engines: "cuda", one GPU for each, or "cpu"
    engines    how many
    threads    of each engine on a CPU; None on a GPU
    resources  of each engine, as Ray names them
    task_cpus  of each task that reads or writes
    """

    device: str
    engines: int
    threads: int | None
    resources: dict[str, Any]
    task_cpus: float


@contextmanager
def connect(address: str, device: str, engines: int | None) -> Iterator[Cluster]:
    """Start Ray on this machine ("local"), or connect to a cluster (HOST:PORT of its head), and share it out.

    device   as asked for: "auto" takes GPUs where the cluster has any
    engines  None: one for each GPU, on CPUs one for each node

    Raises SettingsError and EngineError where the cluster cannot be reached or has too little.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"--device is {device!r}, with --ray allowed are auto, cpu and cuda: Ray numbers the GPUs")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it empties CUDA_VISIBLE_DEVICES and warns
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes back as an exception
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", IDLE_MILLISECONDS)
    local = {"object_store_memory": STORE_BYTES, "include_dashboard": False} if address == LOCAL else {}
    if address != LOCAL:
        _reach(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"--ray {address}: {reason}: start the command on a node of the cluster, with the cluster's version of Ray"
        ) from None
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield share_out(device, engines)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise SettingsError(f"--ray is {address!r}, allowed are local and HOST:PORT of the head of a Ray cluster")
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"--ray {address}: cannot be reached ({error}): start the head with `ray start --head`, or use --ray local"
        ) from None


def share_out(device: str, engines: int | None) -> Cluster:
    """Share the cluster that Ray is connected to between engines and the tasks that read and write."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    if device == "cuda" or (device == "auto" and gpus):
        engines = engines or int(gpus)
        if not 0 < engines <= gpus:
            raise EngineError(f"{engines or 1} engines on GPUs are asked for, the cluster has {gpus:g}: use --workers")
        each = ENGINE_SHARE * min(1.0, cpus / engines)
        return Cluster("cuda", engines, None, {"num_gpus": 1, "num_cpus": each}, _task_cpus(cpus - each * engines))
    engines = engines or len(nodes)
    each = int(ENGINE_SHARE * cpus / engines * 1000) / 1000
    most = min(node["CPU"] for node in nodes if node.get("CPU"))
    threads = max(1, int(min(cpus / engines, most)))
    return Cluster(
        "cpu", engines, threads, {"num_cpus": min(each, ENGINE_SHARE * most)}, _task_cpus(cpus - each * engines)
    )


def _task_cpus(spare: float) -> float:
    """At least two tasks fit into what the engines leave, one that reads and one that writes."""
    return int(min(1.0, spare / 2) * 1000) / 1000


def transfer_on_ray(
    setup: Setup,
    cluster: Cluster,
    samples: Sequence[Sample],
    *,
    manifest: Manifest,
    rows: Mapping[tuple[str, str], Row],
    max_failures: int,
    stopped: Callable[[], bool],
    on_progress: Callable[[Progress], None],
    log: Callable[..., None],
) -> Progress:
    """`zodi.transfer.run.transfer_dataset` on a cluster: the same files, the same rows.

    stopped  asked whenever results arrive; those in flight are made again by the next run

    Raises as that, and what the stages raised.
    """
    recorder = Recorder(
        len(samples) * len(setup.targets), manifest, max_failures=max_failures, log=log, on_progress=on_progress
    )
    try:
        # closed here: Ray Data, collected after Ray was shut down, would start Ray again and wait for it
        with closing(_results(setup, cluster, _input(setup, cluster, samples, rows))) as results:
            for table in results:
                for message in unpack(table):
                    match message:
                        case Row():
                            recorder.record(message)
                        case Skipped():
                            recorder.skip(message.count)
                        case Event():
                            log(message.name, **message.fields)
                        case ZodiError():
                            raise message
                recorder.check()
                if stopped():
                    break
    except RayError as error:
        if "No module named 'zodi" in str(error):
            raise EngineError(f"a node of the cluster has no zodi {__version__}: install it on every node") from None
        raise
    return recorder.progress


def _input(
    setup: Setup, cluster: Cluster, samples: Sequence[Sample], rows: Mapping[tuple[str, str], Row]
) -> list[pa.Table]:
    """One table for each block of input: whole batches of samples, each with what the manifest knows of it."""
    size = block_size(len(samples), setup.settings.batch, setup.settings.image_size or setup.info.image_size, cluster)
    known = [
        (
            Sample(sample.key, sample.image.absolute(), sample.label and sample.label.absolute()),
            [rows[pair] for target in setup.targets if (pair := (target.domain, sample.key)) in rows],
        )
        for sample in samples
    ]
    return [pack(known[start : start + size]) for start in range(0, len(known), size)]


def block_size(samples: int, batch: int, image_size: int, cluster: Cluster) -> int:
    """Samples of a block, whole batches of them. Every block costs the scheduler the same, whatever it holds."""
    fair = samples // (batch * BLOCKS_PER_ENGINE * cluster.engines)
    fitting = BLOCK_BYTES // (batch * 7 * 2 * image_size**2)  # image, control map and label, twice as wide as high
    least = -(-samples // (batch * MOST_BLOCKS))
    return batch * max(1, least, min(fair, fitting))


def _results(setup: Setup, cluster: Cluster, tables: list[pa.Table]) -> Generator[pa.Table, None, None]:
    """The messages of the last stage as they come."""
    if not tables:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    shared = {"version": __version__, "content": pickle.dumps(setup)}
    # Ray annotates functions of one argument, and passes on what fn_kwargs holds
    task: dict[str, Any] = {
        "batch_size": None,
        "batch_format": "pyarrow",
        "num_cpus": cluster.task_cpus,
        "fn_kwargs": shared,
    }
    loaded = ray.data.from_arrow(tables).map_batches(load_stage, **task)  # pyright: ignore[reportArgumentType]
    repainted = loaded.map_batches(
        EngineStage,
        fn_constructor_kwargs=shared,
        batch_size=setup.settings.batch,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=cluster.engines),
        **cluster.resources,
    )
    written = repainted.map_batches(write_stage, **task)  # pyright: ignore[reportArgumentType]
    yield from written.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
