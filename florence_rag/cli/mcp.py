"""`florence-rag mcp`: the tools of agents for a desktop assistant, over standard input and output."""

from typing import Annotated

import typer

from florence_rag.cli.command import RAGCommand
from florence_rag.cli.options import VQA, AllowFolder, Model, Reranker
from florence_rag.errors import MissingExtraError


class MCP(RAGCommand):
    """Offer a database to a desktop assistant, by the Model Context Protocol. It uses standard input and output."""

    allow_folder: AllowFolder = None
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer no tool that writes.")] = False
    max_images: Annotated[int, typer.Option(metavar="N", min=0, help="The most images of one result.")] = 4
    vqa: VQA = None
    reranker: Reranker = None
    model: Model = None

    def run(self) -> None:
        try:
            from florence_rag.server.mcp_server import create_mcp_server, run_on_stdio
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "mcp", "mcp") from error
        from florence_rag.server.config import check_folders
        from florence_rag.tools import Budget

        folders = check_folders(() if self.read_only else self.allow_folder or ())
        with self.open_rag(self.model, vqa=self.vqa, reranker=self.reranker) as rag:
            server = create_mcp_server(rag, folders=folders, budget=Budget(max_images=self.max_images))
            run_on_stdio(server)
