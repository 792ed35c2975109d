"""Where the parts are put together: what the commands call, and what a program may call instead. See docs/api.md."""

from zodi.adapt.settings import AdaptSettings
from zodi.adapting import AdaptResult, estimate_target, evaluate, run_adapt
from zodi.bench import BenchChoice, bench_transfer
from zodi.bench_segmenter import SegmenterBenchChoice, bench_segmenter
from zodi.data import open_dataset
from zodi.deploying import SegmenterChoice, export_segmenter
from zodi.domains import find_domain
from zodi.engines.segmenters import open_segmenter
from zodi.exporting import ExportChoice, PlanChoice, export_engines, verify_engines
from zodi.opening import EngineChoice, ModelChoice
from zodi.predicting import predict_images as predict
from zodi.report.demo import demo_page
from zodi.report.page import report
from zodi.segmenter.evaluate import EvaluateSettings
from zodi.segmenter.settings import TrainSettings, make_settings
from zodi.transfer.output import check_output
from zodi.transfer.settings import TransferSettings
from zodi.transferring import TransferEstimate, TransferResult, estimate_transfer, run_transfer

__all__ = [
    "AdaptResult",
    "AdaptSettings",
    "BenchChoice",
    "EngineChoice",
    "EvaluateSettings",
    "ExportChoice",
    "ModelChoice",
    "PlanChoice",
    "SegmenterBenchChoice",
    "SegmenterChoice",
    "TrainSettings",
    "TransferEstimate",
    "TransferResult",
    "TransferSettings",
    "bench_segmenter",
    "bench_transfer",
    "check_output",
    "demo_page",
    "estimate_target",
    "estimate_transfer",
    "evaluate",
    "export_engines",
    "export_segmenter",
    "find_domain",
    "make_settings",
    "open_dataset",
    "open_segmenter",
    "predict",
    "report",
    "run_adapt",
    "run_transfer",
    "verify_engines",
]
