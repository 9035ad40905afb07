"""`florence-rag ask`: answers with citations."""

from __future__ import annotations

from typing import Annotated

import typer

from florence_rag.cli.opening import open_rag
from florence_rag.cli.options import (
    DEFAULT_DB,
    VQA,
    AsJson,
    Database,
    Filter,
    ImageFile,
    Kinds,
    Model,
    Offline,
    OpenOptions,
    Reranker,
    Token,
    parse_kinds,
)
from florence_rag.cli.output import answer_to_text, print_result


def ask(
    question: Annotated[str, typer.Argument(help="A question about what the images show or the texts say.")],
    image: ImageFile = None,
    k: Annotated[int, typer.Option("-k", min=1, help="The number of hits to consider.")] = 8,
    kind: Kinds = None,
    filter: Filter = None,
    llm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A chat model that answers, named as for LangChain's init_chat_model."),
    ] = None,
    vqa: VQA = None,
    cache_answers: Annotated[
        bool, typer.Option("--cache-answers", help="Store answers about images, and reuse stored answers.")
    ] = False,
    reranker: Reranker = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question, with a confidence and citations. With --image, answer it about that image only."""
    with open_rag(OpenOptions(db, model, token=token, offline=offline, vqa=vqa, reranker=reranker)) as rag:
        answer = rag.ask(
            question,
            k=k,
            kinds=parse_kinds(kind),
            filter=filter,
            llm=llm,
            image=image,
            cache_answers=cache_answers,
        )
    print_result(answer.to_dict(), answer_to_text(answer), as_json)
