"""The normalization of texts that CLIP's own tokenizer applies and the one in transformers does not."""

import html

import ftfy


def normalize_text(text: str) -> str:
    """Normalize a text as CLIP's reference tokenizer (openai/CLIP) does."""
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()
