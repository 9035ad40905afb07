"""A video archive: it finds the moments that a text describes, and answers questions about them.

    python examples/video_archive.py "the driver rings the bell"
    python examples/video_archive.py "Who rings?" --folder videos/ --db videos.db --model openai:gpt-5-mini

A folder is indexed once, with its subtitles: the database is kept. Without a folder and --db it searches the videos of
the demo corpus. A question is answered by the VQA model and by quotes from subtitles, or by the chat model that --model
names.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from example_index import open_index

from florence_rag import FlorenceRAG
from florence_rag.viz import link_to


def show_moments(rag: FlorenceRAG, text: str, k: int) -> None:
    """Print when something happens, with links that open the videos there."""
    for hit in rag.find_moments(text, k):
        print(f"{hit.locator}  {link_to(hit.source, hit.locator)}  {hit.explanation}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, print the moments, and answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="a description of what happens, or a question")
    parser.add_argument("--folder", type=Path, help="the videos (default: those of the demo corpus)")
    parser.add_argument("--db", type=Path, help="the database, which is kept (default with a folder: florence.db)")
    parser.add_argument("--model", help="a name for init_chat_model, such as openai:gpt-5-mini (default: none)")
    parser.add_argument("-k", type=int, default=3)
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db, demo="videos") as rag:
        show_moments(rag, options.text, options.k)
        print(rag.chat(options.model, kinds=["clip"]).ask(options.text).answer.answer)


if __name__ == "__main__":
    main()
