"""Where the parts are put together: what the commands call, and what a program may call instead."""

from zodi.adapt.settings import AdaptSettings as AdaptSettings
from zodi.adapting import AdaptResult as AdaptResult
from zodi.adapting import estimate_target as estimate_target
from zodi.adapting import run_adapt as run_adapt
from zodi.bench import BenchChoice as BenchChoice
from zodi.bench import bench_transfer as bench_transfer
from zodi.bench_segmenter import SegmenterBenchChoice as SegmenterBenchChoice
from zodi.bench_segmenter import bench_segmenter as bench_segmenter
from zodi.deploying import SegmenterChoice as SegmenterChoice
from zodi.deploying import export_segmenter as export_segmenter
from zodi.engines.segmenters import open_segmenter as open_segmenter
from zodi.exporting import ExportChoice as ExportChoice
from zodi.exporting import PlanChoice as PlanChoice
from zodi.exporting import export_engines as export_engines
from zodi.exporting import verify_engines as verify_engines
from zodi.opening import EngineChoice as EngineChoice
from zodi.opening import ModelChoice as ModelChoice
from zodi.predicting import predict_images as predict_images
from zodi.report.demo import demo_page as demo_page
from zodi.report.page import report as report
from zodi.transfer.output import check_output as check_output
from zodi.transferring import TransferEstimate as TransferEstimate
from zodi.transferring import TransferResult as TransferResult
from zodi.transferring import estimate_transfer as estimate_transfer
from zodi.transferring import run_transfer as run_transfer
