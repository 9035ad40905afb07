"""Opens the folder of a model without running code that its files name, and without fetching what they name.

The libraries open a folder as its files say: these name classes, other repositories, compiled kernels and pickles.
Every call that gives a folder to transformers or sentence-transformers goes through this module.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from logging import ERROR
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers.utils import logging

from florence_rag.errors import FlorenceError, InputError, ModelError, first_line
from florence_rag.json_values import parse_json
from florence_rag.models.chat_templates import check_templates
from florence_rag.models.registry import ASSETS, missing_files, read_json
from florence_rag.models.tokenizer_files import check_tokenizers
from florence_rag.validation import show

_MAX_TEXT_BYTES = 64 << 20
_MAX_HEADER_BYTES = 16 << 20
_MAX_FILES = 10_000
_VOCABULARIES = ("tokenizer.json", "vocab.json")
_PROBE = "a photo of a dog"
_TEXTS = (".json", ".txt", ".jinja", ".md", ".model")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")

_ACTIVATIONS = ("activation_function", "activation_fn", "sbert_ce_default_activation_function")
_ACTIVATION = re.compile(r"\w+|torch\.nn\.(modules\.(activation|linear)\.)?[A-Z]\w*")
_MODULE = re.compile(r"sentence_transformers(\.[a-z]\w*)*\.[A-Z]\w*")
_LARGEST = (
    (re.compile(r"\w*(layers?|depths?|blocks|stages|experts)"), 2_000),  # of which each becomes objects
    (re.compile(r"(image_|crop_)?size|(max_)?(height|width)|shortest_edge"), 10_000),  # sides of images, in pixels
    (re.compile(r"(in|out)_features|out_channels|hidden_dim|(in_)?word_embedding_dimension"), 32_768),  # of layers
    (re.compile(r"num_labels"), 100_000),
    (re.compile(r"num_beams?(_groups)?|num_return_sequences"), 100),  # of which each repeats the computation
    (re.compile(r"min_pixels"), 4_000_000),  # to which a small image is enlarged
)
"""Settings that take time or memory before the weights are compared with them, and their largest values."""
_MAX_ENTRIES = 100_000
_KERNELS = ("attn_implementation", "experts_implementation")

_never = "which is never run; choose a model whose classes transformers or sentence-transformers contain"

_is_opening: ContextVar[bool] = ContextVar("is_opening", default=False)


class _Offline:
    """Takes the place of the constant HF_HUB_OFFLINE, and is also true in a thread that is opening a model."""

    def __init__(self, usual: object) -> None:
        self._usual = usual

    def __bool__(self) -> bool:
        return bool(self._usual) or _is_opening.get()


# The libraries do not pass `local_files_only` on to all that a configuration can name, such as kernels and backbones.
constants.HF_HUB_OFFLINE = _Offline(constants.HF_HUB_OFFLINE)  # type: ignore[assignment]


def open_part(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return `kind.from_pretrained(folder)` from local files and without their code: a processor or a configuration."""
    return kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)


def open_network(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return a network of safetensors as `open_part` does."""
    return open_part(kind, folder, use_safetensors=True, **options)


@contextmanager
def opening(folder: str | Path, problem: str, advice: str = "") -> Iterator[None]:
    """Check the files of a folder, and turn every error of opening it into a ModelError.

    Args:
        folder: The folder of a model.
        problem: The beginning of the message, to which the reason is added.
        advice: What to do if the files do not fit; without it, missing files of a folder of transformers are named.

    Raises:
        ModelError: If the files could run code, lead out of the folder, or cannot be opened.
    """
    token = _is_opening.set(True)
    try:
        try:
            check_files(Path(folder))
        except ModelError as error:
            raise ModelError(f"{problem}: {error}") from error
        with _quiet():
            yield
    except FlorenceError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the libraries pass on the errors of all their parts, and the panics of Rust
        if "trust_remote_code" in str(error) or "remote code" in str(error):
            reason = f"it needs code of its own{_named_code(Path(folder))}, {_never}"
        elif "ignore_mismatched_sizes" in str(error) and Path(folder, "config.json").is_file():
            reason = "its weights have other shapes than its config.json says" + advice
        elif not advice and (missing := missing_files(Path(folder))):
            reason = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; fetch the model again"
        else:
            reason = first_line(error) + advice
        raise ModelError(f"{problem}: {reason}") from error
    finally:
        _is_opening.reset(token)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what transformers prints while it opens a folder: progress bars, and doubts about token ids."""
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
        if verbosity != ERROR:  # another thread is opening a model if it is
            logging.set_verbosity(verbosity)


def check_tokenizer(tokenizer: Any, config: Any, folder: str | Path, problem: str) -> None:
    """Raise a ModelError if a tokenizer does not know the words of its network.

    transformers replaces a vocabulary that is missing by one of a few special tokens, without an error.

    Args:
        tokenizer: A tokenizer of transformers; others are not checked.
        config: The configuration of the network, or None.
        folder: The folder of both.
        problem: The beginning of the message.
    """
    if not hasattr(tokenizer, "unk_token_id"):
        return
    known = getattr(config.get_text_config(decoder=True), "vocab_size", 0) if config is not None else 0
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    if len(tokenizer) < known / 2:
        reason = f"its tokenizer knows {len(tokenizer)} tokens, and its network {known}"
    elif set(ids) <= {tokenizer.unk_token_id}:
        reason = f"its tokenizer knows no part of {_PROBE!r}"
    else:
        return
    lost = " and ".join(missing_files(Path(folder))) or "the files of its tokenizer"
    raise ModelError(f"{problem}: {reason}; fetch {lost} again")


def check_files(folder: Path) -> None:
    """Raise a ModelError if files of the folder are links out of it, could run code, or are too large to be read."""
    templates: list[str] = []
    tokenizers: list[Path] = []
    for count, path in enumerate(_files(folder)):
        if count >= _MAX_FILES:
            raise ModelError(f"{str(folder)!r} has more than {_MAX_FILES} files; give the folder of one model")
        _check_place(path, folder)
        if path.name == "adapter_config.json":
            raise ModelError(
                f"{str(path)!r} makes the model an adapter of another one, which is not fetched: merge both "
                "(merge_and_unload of peft), save the result, and give its folder"
            )
        if path.suffix in _PICKLES and not any(path.parent.glob("*.safetensors")):
            raise ModelError(
                f"{str(folder)!r} has no *.safetensors next to {path.name}; weights in other forms may be pickles, "
                "which are not opened: convert them on a machine that may run them, or choose another model"
            )
        if path.suffix == ".json" and path.name not in _VOCABULARIES and not path.name.endswith(".index.json"):
            _check_settings(path)
        if path.name.endswith(".index.json"):
            _check_shards(path)
        elif path.suffix in (".json", ".jinja"):
            templates += _chat_templates(path)
        if path.suffix == ".safetensors":
            _check_header(path)
        if path.name == "tokenizer.json":
            tokenizers.append(path)
    if templates:
        check_templates(templates)
    if tokenizers and not folder.resolve().is_relative_to(ASSETS):
        check_tokenizers(tokenizers)


def _check_header(path: Path) -> None:
    """Refuse the header of a safetensors file that lists so many tensors that opening them takes minutes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER_BYTES:
        raise ModelError(
            f"{str(path)!r} has a header of more than {_MAX_HEADER_BYTES >> 20} MB, or is damaged; fetch it again"
        )


def _check_shards(path: Path) -> None:
    """Refuse an index of shards that names files elsewhere, or none."""
    try:
        names = {
            isinstance(each, str) and Path(each).name == each
            for each in parse_json(path.read_bytes())["weight_map"].values()
        }
    except (InputError, TypeError, KeyError, AttributeError):
        names = {False}
    if names != {True}:
        raise ModelError(f"{str(path)!r} does not name the files of its folder that hold the weights; fetch it again")


def _chat_templates(path: Path) -> Iterator[str]:
    """Yield the chat templates of a file: all of it, or in its settings one or a list of those with names."""
    if path.suffix == ".jinja":
        yield path.read_text("utf-8", "replace")
    elif path.name not in _VOCABULARIES:
        for key, value in _items(read_json(path)):
            for each in (value if isinstance(value, list) else [value]) if key == "chat_template" else ():
                yield str(each.get("template") if isinstance(each, dict) else each)


def _files(folder: Path) -> Iterator[Path]:
    """Yield what is in the folder and its subfolders, apart from hidden ones, without following links to folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        links = (each for each in folders if os.path.islink(os.path.join(parent, each)))
        yield from (Path(parent, each) for each in (*sorted(files), *links) if not each.startswith("."))


def _check_place(path: Path, folder: Path) -> None:
    root = folder.resolve()
    allowed = [root]
    if root.parent.name == "snapshots":  # the cache of Hugging Face, whose files are links
        allowed.append(root.parent.parent / "blobs")
    place = path.resolve()
    if path.is_symlink() and not any(place.is_relative_to(each) for each in allowed):
        raise ModelError(f"{str(path)!r} is a link out of the folder of the model; put the file itself there")
    if not (place.is_file() or place.is_dir()):
        raise ModelError(f"{str(path)!r} is not a regular file; fetch the model again")
    if path.suffix in _TEXTS and place.stat().st_size > _MAX_TEXT_BYTES:
        raise ModelError(f"{str(path)!r} is larger than {_MAX_TEXT_BYTES >> 20} MB, as no such file is")


def _check_settings(path: Path) -> None:
    """Refuse what the libraries would call, or fetch and run, and networks that take hours to be built."""
    content = read_json(path)
    if path.name == "modules.json":
        for module in content if isinstance(content, list) else ():
            _check_module(path, module.get("type") if isinstance(module, dict) else module)
    counts_pixels = isinstance(content, dict) and any(key == "merge_size" for key, _ in _items(content))
    for key, value in _items(content):
        if key in _ACTIVATIONS and isinstance(value, str) and not _ACTIVATION.fullmatch(value):
            raise ModelError(f"{str(path)!r} names the function {value!r:.80} as {key}, {_never}")
        if key.lstrip("_").removesuffix("_internal") in _KERNELS and "/" in str(value):
            raise ModelError(f"{str(path)!r} names the compiled code {value!r:.80} as {key}, {_never}")
        setting = "min_pixels" if key == "shortest_edge" and counts_pixels else key
        for pattern, most in _LARGEST:
            if pattern.fullmatch(setting) and _largest(value) > most:
                raise ModelError(f"{str(path)!r} says {key} = {show(value)}, and no model has more than {most}")
        if isinstance(value, dict | list) and len(value) > _MAX_ENTRIES:
            raise ModelError(f"{str(path)!r} has {len(value)} entries in {key}; no model has more than {_MAX_ENTRIES}")
        if key == "types" and isinstance(value, dict) and "structure" in content:  # of a Router
            for each in value.values():
                _check_module(path, each)


def _largest(value: object) -> int:
    """Return the largest whole number in a number or a list, and 0 if there is none."""
    return max((each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)), default=0)


def _check_module(path: Path, name: object) -> None:
    if not _MODULE.fullmatch(str(name)):
        raise ModelError(f"{str(path)!r} names the class {name!r:.80}, code of its own, {_never}")


def _items(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of all objects in parsed JSON."""
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield from value.items()
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _named_code(folder: Path) -> str:
    """Return in parentheses the first name of code in the configuration files, "" if there is none."""
    for path in sorted(folder.glob("*.json")):
        for key, value in _items(read_json(path) if path.name not in _VOCABULARIES else None):
            if key == "auto_map" and value:
                first = next(iter(value.values()), "") if isinstance(value, dict) else value
                return f" ({first!r:.80} in {path.name})"
    return ""
