"""`florence-rag serve`: a web page, a REST API and MCP over one database whose models stay loaded."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from florence_rag.cli.command import IndexingCommand
from florence_rag.cli.options import VQA, AllowFolder, Reranker
from florence_rag.cli.output import plain, stderr
from florence_rag.errors import MissingExtraError
from florence_rag.redaction import keep_secret

if TYPE_CHECKING:
    from florence_rag.server.config import ServerConfig
    from florence_rag.settings import OpenSettings


class Serve(IndexingCommand):
    """Serve a database as a web page, a REST API and MCP. Its models stay loaded until Ctrl-C."""

    host: Annotated[
        str, typer.Option(help="The address to listen on; other machines reach 0.0.0.0, which needs a token.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port; 0 for any that is free.")] = 8000
    access_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="FLORENCE_ACCESS_TOKEN",
            help="What clients have to send; a new one if other machines reach the server and none is given.",
        ),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name under which browsers reach the server. Repeatable."),
    ] = None
    allow_folder: AllowFolder = None
    upload_folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where uploads are kept; without it, none are accepted.")
    ] = None
    max_upload: Annotated[int, typer.Option(metavar="MB", min=1, help="The largest upload.")] = 1000
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="The most time for a search or an answer.")
    ] = 120.0
    read_only: Annotated[bool, typer.Option("--read-only", help="Let clients change nothing.")] = False
    llm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A chat model for conversations, named as for LangChain's init_chat_model."),
    ] = None
    vqa: VQA = None
    reranker: Reranker = None

    def run(self) -> None:
        try:
            from florence_rag.answering.llm import open_chat_model
            from florence_rag.server.app import create_app
            from florence_rag.server.run import base_url, listening, page_url, run
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "fastapi", "server") from error

        config = self._config()
        llm = open_chat_model(self.llm) if self.llm else None
        with listening(config) as listener, self.open_rag(self.model, **self.settings()) as rag:
            app = create_app(
                rag,
                config,
                llm,
                near_duplicates=self.near_duplicates,
                words=self.words,
                follow_links=self.follow_links,
            )

            def announce() -> None:
                url = Text.assemble("Serving ", (self.db, "bold"), " at ", plain(page_url(config, listener)))
                self.print({"event": "ready", "url": base_url(config, listener), "pid": os.getpid()}, url)

            try:
                run(app, listener, announce)
            except KeyboardInterrupt:
                stderr().print("Stopped.")

    def settings(self) -> "OpenSettings":
        """Return the settings for `open_rag`, which refuse a missing database: a typing error would create another."""
        return {**super().settings(), "create": False, "vqa": self.vqa, "reranker": self.reranker}

    def _config(self) -> "ServerConfig":
        from florence_rag.server.config import ServerConfig, is_local, new_token

        keep_secret(self.access_token)
        return ServerConfig(
            host=self.host,
            port=self.port,
            token=self.access_token or ("" if is_local(self.host) else new_token()),
            allowed_hosts=tuple(self.allow_host or ()),
            allowed_folders=tuple(self.allow_folder or ()),
            upload_folder=self.upload_folder,
            read_only=self.read_only,
            max_upload_mb=self.max_upload,
            timeout_s=self.timeout,
        )
