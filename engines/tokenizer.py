"""The tokenizer of a model: its vocabulary and its length must be those of the text encoder."""

import json
from typing import Any

from zodi.engines.sources import attempt
from zodi.errors import ModelError

SPARE_WORDS = 16  # that no merge makes, or that were added by hand; above that at most 1 %


def load_tokenizer(model: str, text_encoder: Any, revision: str | None) -> Any:
    """The CLIP tokenizer of a model, with `model_max_length` no longer than the text encoder's positions.

    text_encoder  its config

    Raises ModelError where its files are missing or cut off, or belong to another text encoder.
    """
    import transformers

    tokenizer = attempt(
        "tokenizer",
        model,
        lambda: transformers.CLIPTokenizer.from_pretrained(model, subfolder="tokenizer", revision=revision),
    )
    words, known = len(tokenizer), text_encoder.vocab_size
    files = "tokenizer.json, or vocab.json and merges.txt"
    if 2 * words < known:  # without any file transformers makes one of two words
        raise ModelError(
            f"{model}: the tokenizer has {words} words, the text encoder {known}: "
            f"{files} in tokenizer/ are missing or of another model, fetch them again"
        )
    if words > known:
        raise ModelError(
            f"{model}: the tokenizer has {words} words, the text encoder only {known}: they are of different models"
        )
    unreachable = _unreachable_words(tokenizer)
    if unreachable > max(SPARE_WORDS, words // 100):
        raise ModelError(
            f"{model}: {unreachable} of the tokenizer's {words} words cannot be reached by its merges: "
            f"{files} in tokenizer/ are cut off or do not belong together, fetch them again"
        )
    # configs without a length, or with 1e30, leave it to the model
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.max_position_embeddings)
    return tokenizer


def _unreachable_words(tokenizer: Any) -> int:
    """How many words of several characters no merge makes, apart from added and special ones."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    reached = {left + right for left, right in pairs}
    reached |= {str(token) for token in tokenizer.added_tokens_decoder.values()}
    return sum(len(word.removesuffix("</w>")) > 1 and word not in reached for word in model["vocab"])
