"""A bundle: a directory with the five graphs as ONNX files, tokenizer, schedule, and the identity that ties them.

bundle.json        identity, sizes, one entry per graph, sha256 of every other file and of itself
GRAPH.onnx         one of the five graphs of `zodi.ports`; its weights are in GRAPH.onnx.data
GRAPH.parity.npz   sample inputs and what PyTorch computed from them in float32
GRAPH.plan         where it was built: the graph for TensorRT on certain GPUs; executable code
tokenizer/         of the text encoder
scheduler/         the model's own scheduler config
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zodi import __version__
from zodi.engines.profile import Profile, Sizes, check_profile, graph_profile, read_range
from zodi.errors import ModelError, SettingsError
from zodi.files import write_atomic
from zodi.model import ModelInfo
from zodi.ports import Graph, graphs

BUNDLE_FILE = "bundle.json"
FORMAT = 2
METADATA_KEY = "zodi"  # of the identity inside each ONNX file


@dataclass
class Bundle:
    """What bundle.json says.

    info       of the model
    precision  of the files: "fp32", "fp16" or "bf16"
    sizes      that the graphs are made for
    graphs     by name: {"identity", "parity"}; the identity is also in the ONNX file
    engines    by name: which engine has been checked on these files, where, and its parity
    plans      by graph: the identity of its TensorRT plan, see `zodi.engines.trt_plans`
    files      sha256 by path relative to the directory
    """

    directory: Path
    info: ModelInfo
    precision: str
    sizes: Sizes
    graphs: dict[str, dict[str, Any]] = field(default_factory=dict)
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)

    def path(self, graph: str) -> Path:
        """The ONNX file of a graph."""
        return self.directory / f"{graph}.onnx"

    def plan_path(self, graph: str) -> Path:
        """The TensorRT plan of a graph."""
        return self.directory / f"{graph}.plan"

    def profile(self, graph: str) -> Profile:
        """The sizes that a graph takes."""
        return {symbol: read_range(values) for symbol, values in self.graphs[graph]["identity"]["profile"].items()}

    @property
    def rebuild(self) -> str:
        """The command that makes this bundle again."""
        return self.rebuild_with(*self.sizes.options)

    def rebuild_with(self, *options: str) -> str:
        """The command that exports the model to this place again, for what the options say."""
        info = self.info
        controlnet = None if info.controlnet == "controlnet" else info.controlnet
        command = export_command(info.name, controlnet, info.variant, info.revision)
        return " ".join(
            [command, "--precision", self.precision, *options, "--bundle", shlex.quote(str(self.directory))]
        )

    def check_sizes(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        """Raise SizeError where a call is outside what the graph was exported for; sizes by the graph's symbols."""
        check_profile(graph, self.profile(graph.name), sizes, factor=self.info.dims.vae_factor, rebuild=self.rebuild)

    @property
    def rebuild_plans(self) -> str:
        """The command that builds the TensorRT plans, again or for the first time, from this bundle's ONNX files."""
        place = shlex.quote(str(self.directory))
        ahead = {c for plan in self.plans.values() if plan["ahead_of_time"] for c in plan["compute_capability"]}
        return " ".join(
            [f"zodi export-engines --from-onnx {place} --bundle {place} --precision {self.precision} --engine trt"]
            + [f"--compute-capability {each}" for each in sorted(ahead)]
        )

    def to_json(self) -> dict[str, Any]:
        """What bundle.json holds."""
        table: dict[str, Any] = {
            "format": FORMAT,
            "zodi": __version__,
            "model": self.info.to_json(),
            "precision": self.precision,
            "sizes": self.sizes.to_json(),
            "graphs": self.graphs,
            "engines": self.engines,
            "plans": self.plans,
            "files": dict(sorted(self.files.items())),
        }
        return {**table, "sha256": _digest(table)}

    def write(self) -> None:
        """Write bundle.json."""
        write_atomic(self.directory / BUNDLE_FILE, (json.dumps(self.to_json(), indent=2) + "\n").encode())


def open_bundle(directory: Path, *, weights: str | None = None, precision: str | None = None) -> Bundle:
    """Read a bundle and verify it: every graph's identity, and every file's sha256 but those of plans.

    Plans are verified by who loads them, see `zodi.engines.trt_plans.check_plans`.

    weights    hash that the model must have; None: any
    precision  that the files must have; None: any

    Raises ModelError that names the file or field that differs and the command that makes the bundle again.
    """
    bundle = read_bundle(directory)
    for name, given, expected in (
        ("weights", bundle.info.hash, weights or bundle.info.hash),
        ("precision", bundle.precision, precision or bundle.precision),
    ):
        if given != expected:
            raise ModelError(
                f"{directory}: {name} of the bundle are {given[:16]}, asked for are {expected[:16]}: "
                f"give another --bundle, or make one with {export_command('MODEL')}"
            )
    for name in graphs(bundle.info.dims):
        if name not in bundle.graphs:
            raise ModelError(f"{directory}: {name} is not in the bundle, its export was broken off: {bundle.rebuild}")
    others = [name for name in bundle.files if not name.endswith(".plan")]
    for name, problem in file_problems(bundle, others).items():
        raise ModelError(f"{directory}: {name} {problem}: make the bundle again with {bundle.rebuild}")
    for graph in graphs(bundle.info.dims).values():
        check_identity(bundle, graph)
    return bundle


def read_bundle(directory: Path) -> Bundle:
    """Read bundle.json only; ModelError where there is none or it is damaged."""
    path = directory / BUNDLE_FILE
    again = f"make the bundle again with {export_command('MODEL')} --bundle {shlex.quote(str(directory))}"
    if not path.is_file():
        raise ModelError(f"{directory}: there is no bundle (no {BUNDLE_FILE}): {again.replace(' again', '')}")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["format"] != FORMAT:
            raise ModelError(f"{path}: format is {table['format']}, this zodi reads {FORMAT}: {again}")
        if table.pop("sha256") != _digest(table):
            raise ModelError(f"{path}: is not the file that was written (its sha256 differs): {again}")
        return Bundle(
            directory,
            ModelInfo.from_json(table["model"]),
            table["precision"],
            Sizes.from_json(table["sizes"]),
            table["graphs"],
            table["engines"],
            table["files"],
            table["plans"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is damaged ({type(error).__name__}: {error}): {again}") from None


def file_problems(bundle: Bundle, names: Iterable[str] | None = None) -> dict[str, str]:
    """What is wrong with which of the files, or all: missing, a link to nothing, or not the file that was written."""
    problems = {}
    for name in bundle.files if names is None else names:
        expected, path = bundle.files[name], bundle.directory / name
        if path.is_symlink() and not path.exists():
            problems[name] = f"is a link to {path.readlink()}, which is not here (git annex get, dvc pull)"
        elif not path.is_file():
            problems[name] = "is missing"
        elif file_sha256(path) != expected:
            problems[name] = "is not the file that was written (its sha256 differs from bundle.json)"
    return problems


def graph_identity(bundle: Bundle, graph: Graph, *, precision: str, exporter: str, opset: int) -> dict[str, Any]:
    """What ties an ONNX file to its model, purpose and maker."""
    return {
        "weights": bundle.info.hash,
        "graph": graph.name,
        "ports": {p.name: f"{p.dtype} ({', '.join(map(str, p.dims))})" for p in (*graph.inputs, *graph.outputs)},
        "profile": {k: list(v) for k, v in graph_profile(graph, bundle.sizes, bundle.info.dims).items()},
        "precision": precision,
        "exporter": exporter,
        "opset": opset,
        "zodi": __version__,
    }


def check_identity(bundle: Bundle, graph: Graph) -> None:
    """Compare the identity in an ONNX file with bundle.json and with this version's ports.

    Raises ModelError that names the field which differs.
    """
    import onnx

    written = bundle.graphs[graph.name]["identity"]
    model = onnx.load(bundle.path(graph.name), load_external_data=False)
    inside = json.loads({p.key: p.value for p in model.metadata_props}.get(METADATA_KEY, "{}"))
    expected = graph_identity(
        bundle, graph, precision=written["precision"], exporter=written["exporter"], opset=written["opset"]
    ) | {"zodi": written["zodi"]}
    for other, where in ((inside, "in the file"), (expected, "in this zodi")):
        field_name = difference(written, other)
        if field_name is not None:
            raise ModelError(
                f"{bundle.path(graph.name)}: {field_name} is {written.get(field_name)!r} in {BUNDLE_FILE}, "
                f"{other.get(field_name)!r} {where}: make the bundle again with {bundle.rebuild}"
            )


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first key whose values differ."""
    return next((key for key in [*new, *old] if old.get(key) != new.get(key)), None)


def default_directory(info: ModelInfo, precision: str) -> Path:
    """Where a bundle is if nothing else is said: in the user's cache, by the model's weights and the precision."""
    return cache_directory() / "bundles" / f"{info.hash[:16]}-{precision}-v{FORMAT}"


def cache_directory() -> Path:
    """Where zodi keeps what it can make again; SettingsError where the user has no home, or may not look into it."""
    try:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zodi"
        directory.is_dir()
    except (RuntimeError, PermissionError) as error:  # no HOME and unknown to the system, as in many containers
        reason = str(error).rstrip(".")
        raise SettingsError(
            f"there is no cache folder for the files of engines ({reason}): set XDG_CACHE_HOME to one, "
            "or name a folder with --bundle"
        ) from None
    return directory


def export_command(
    model: str, controlnet: str | None = None, variant: str | None = None, revision: str | None = None
) -> str:
    """The beginning of a `zodi export-engines` command."""
    given = {"--model": model, "--controlnet": controlnet, "--variant": variant, "--revision": revision}
    named = [f"{option} {shlex.quote(value)}" for option, value in given.items() if value is not None]
    return " ".join(["zodi export-engines", *named])


def load_tokenizer(bundle: Bundle) -> Any:
    """The tokenizer of a verified bundle."""
    import transformers

    return transformers.CLIPTokenizer.from_pretrained(bundle.directory / "tokenizer")


def file_sha256(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(table: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
