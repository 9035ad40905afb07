"""`florence-rag info`: what a database contains."""

from __future__ import annotations

from florence_rag.cli.opening import open_index
from florence_rag.cli.options import DEFAULT_DB, AsJson, Database, Token
from florence_rag.cli.output import failures_to_dicts, info_to_text, print_result


def info(db: Database = DEFAULT_DB, token: Token = None, as_json: AsJson = False) -> None:
    """Print what a database contains, what failed, and which model filled it."""
    from florence_rag.models.registry import CARDS

    with open_index(db, token) as index:
        about, failures = index.info(), index.failures()
    card = CARDS.get(about.embedder.name)
    extra = {"failed": failures_to_dicts(failures), "training_data": card and card.training_data}
    print_result(about.to_dict() | extra, info_to_text(about, failures, card), as_json)
