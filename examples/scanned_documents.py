"""Scanned documents: it reads them by OCR, answers a question, and names the page and the sentence.

    python examples/scanned_documents.py "When is the Old Mill Bridge closed?"
    python examples/scanned_documents.py "May I have a cat?" --folder scans/ --db scans.db --model openai:gpt-5-mini

A folder is indexed once: the database is kept. Without a folder and --db it reads the documents of the demo corpus.
Without --model the answer is quoted; --model takes any name that LangChain's init_chat_model knows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from example_index import open_index

from florence_rag import Turn


def show(turn: Turn) -> None:
    """Print the answer, and the page and the sentence of each citation."""
    print(turn.answer.answer)
    for number, citation in turn.citations.items():
        quote = f": {' '.join(citation.quote.split())}" if citation.quote else ""
        print(f"  [{number}] {citation.source}, {citation.locator}{quote}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--folder", type=Path, help="the documents (default: those of the demo corpus)")
    parser.add_argument("--db", type=Path, help="the database, which is kept (default with a folder: florence.db)")
    parser.add_argument("--model", help="a name for init_chat_model, such as openai:gpt-5-mini (default: none)")
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db, demo="documents") as rag:
        show(rag.chat(options.model).ask(options.question))


if __name__ == "__main__":
    main()
