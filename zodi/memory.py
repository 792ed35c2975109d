"""Full memory, in the words of every runtime; without importing any."""

WORDS = (
    "out of memory",
    "failed to allocate memory",
    "bad_alloc",
    "can't allocate memory",
    "cannot allocate memory",
    "insufficient memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime says that memory is full: by Python's own class, or in the words of others."""
    known = isinstance(error, (RuntimeError, OSError)) or type(error).__module__.startswith(("onnxruntime", "cv2"))
    return isinstance(error, MemoryError) or (known and any(word in str(error).lower() for word in WORDS))
