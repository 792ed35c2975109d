"""JSON as every parser takes it: NaN and Infinity, which Python would write and others refuse, are null."""

import json
import math
from typing import Any


def dumps(content: object, *, indent: int | None = 2) -> str:
    """The text of a value; what is not known, NaN or infinite, is null."""
    return json.dumps(_known(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _known(value: Any) -> Any:
    if isinstance(value, float):  # numpy's float64 too
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    return [_known(item) for item in value] if isinstance(value, list | tuple) else value
