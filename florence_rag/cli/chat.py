"""`florence-rag chat`: a conversation in the terminal, or over a pipe."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from florence_rag.cli.command import QueryCommand
from florence_rag.cli.options import VQA, Count, Model, image_argument, parse_filter
from florence_rag.cli.output import plain, print_result, source_to_text, stderr, stdout
from florence_rag.errors import FlorenceError, InputError

if TYPE_CHECKING:
    from florence_rag.chat.session import Chat as Conversation
    from florence_rag.chat.turn import Turn
    from florence_rag.rag import FlorenceRAG
    from florence_rag.types import Hit

_SHOWN = 3


class Chat(QueryCommand):
    """Talk with an index: each message may refer to earlier results. Type /help for the commands of a conversation."""

    llm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A chat model that answers, named as for LangChain's init_chat_model."),
    ] = None
    k: Count = 5
    conversation: Annotated[
        str | None, typer.Option("--load", metavar="FILE", help="A conversation to continue, which /save has written.")
    ] = None
    vqa: VQA = None
    model: Model = None

    def run(self) -> None:
        from florence_rag.answering.llm import open_chat_model

        llm = open_chat_model(self.llm) if self.llm else None
        with self.open_rag(self.model, vqa=self.vqa) as rag:
            chat = rag.chat(llm, k=self.k, kinds=self.kinds, filter=self.filter)
            terminal = ChatTerminal(rag, chat, self.as_json)
            if self.conversation:
                terminal.load(self.conversation)
            terminal.run()


@dataclass
class ChatTerminal:
    """Reads messages and commands from standard input, and prints the answers as they come."""

    rag: FlorenceRAG
    chat: Conversation
    as_json: bool = False
    image: str | None = None
    is_over: bool = False
    commands: dict[str, tuple[Callable[[str], None], str]] = field(init=False)

    def __post_init__(self) -> None:
        self.commands = {
            "/image": (self.take_image, "FILE [MESSAGE]: ask about an image, or find what is like it"),
            "/filter": (
                self.set_filter,
                "[FILTER]: search only what matches, as --filter does; without one, everything",
            ),
            "/open": (self.open, "N: show result N of the last answer"),
            "/save": (self.save, "FILE: save the conversation"),
            "/load": (self.load, "FILE: continue a saved conversation"),
            "/help": (self.help, "list these commands"),
            "/quit": (self.quit, "end, as Ctrl-D does"),
        }

    def run(self) -> None:
        """Answer messages until the input ends."""
        if sys.stdin.isatty():
            stderr().print(plain("Ask about your files; /help lists commands, Ctrl-D ends.", "dim"))
        for line in _lines():
            try:
                self.take(line)
            except FlorenceError as error:
                stderr().print(plain(f"Error: {error}", "red"))
            if self.is_over:
                break

    def take(self, line: str) -> None:
        """Run a command, or answer a message."""
        name, _, rest = line.partition(" ")
        if name in self.commands:
            self.commands[name][0](rest.strip())
        elif name.startswith("/"):
            raise InputError(f"there is no command {name!r:.40}; there are {', '.join(self.commands)}")
        elif line or self.image:
            self.answer(line)

    def answer(self, text: str) -> None:
        """Print the answer to a message; Ctrl-C ends the answer and not the conversation."""
        image, self.image = self.image, None
        try:
            for part in self.chat.stream(text, image):
                if not isinstance(part, str):
                    self.print_turn(part)
                elif not self.as_json:
                    stdout().print(plain(part), end="")
        except KeyboardInterrupt as stop:
            if stop.args:  # SIGTERM
                raise
            stderr().print(plain("\nInterrupted.", "yellow"))

    def print_turn(self, turn: Turn) -> None:
        """Print the results that an answer cites, or the turn as JSON."""
        lines = [_hit_line(number, turn.hits[number - 1]) for number in turn.citations]
        print_result(turn.to_dict(), Text("\n").join([Text(""), *lines]), self.as_json)
        if not self.as_json:
            for number in list(turn.citations)[:_SHOWN]:
                self.show(turn.hits[number - 1])

    def show(self, hit: Hit) -> bool:
        """Show the image of a result, if the terminal can."""
        from florence_rag.cli.terminal_images import image_protocol, print_image

        protocol = image_protocol()
        if protocol is None or hit.kind == "text":
            return False
        from PIL import Image

        from florence_rag.types import middle_frame

        with suppress(InputError):  # its file is gone; the path is printed
            print_image(Image.fromarray(middle_frame(self.rag.frames(hit))), protocol)
            return True
        return False

    def take_image(self, rest: str) -> None:
        from florence_rag.chunking import read_image

        try:
            name, *words = shlex.split(rest)
        except ValueError as error:
            raise InputError(
                f"/image needs a file, in quotation marks if its name has spaces: {error or rest!r}"
            ) from None
        image = image_argument(name)
        read_image(image)
        self.image = image
        if words:
            self.answer(" ".join(words))
        else:
            stderr().print(plain("The next message is about this image.", "dim"))

    def set_filter(self, rest: str) -> None:
        try:
            filter = parse_filter(rest) if rest else None
        except typer.BadParameter as error:
            raise InputError(f"the filter is wrong: {error}") from None
        next(self.rag.index.find(filter=filter), None)  # raises an error if it is wrong
        self.chat.filter = filter
        stderr().print(plain(f"Searching {f'where {rest}' if rest else 'everything'}.", "dim"))

    def open(self, rest: str) -> None:
        if not rest.isdecimal() or len(rest) > 6:
            raise InputError(f"/open needs the number of a result, got {rest!r:.40}")
        hit = self.chat.hit(int(rest))
        stdout().print(_hit_line(int(rest), hit))
        if not self.show(hit) and hit.content:
            stdout().print(plain(hit.content))

    def save(self, rest: str) -> None:
        self.chat.save(_file(rest, "/save"))
        stderr().print(plain(f"Saved {len(self.chat.history)} turns.", "dim"))

    def load(self, rest: str) -> None:
        self.chat.load(_file(rest, "/load"))
        stderr().print(plain(f"Loaded {len(self.chat.history)} turns.", "dim"))

    def help(self, rest: str) -> None:
        stderr().print(plain("\n".join(f"{name} {text}" for name, (_, text) in self.commands.items())))

    def quit(self, rest: str) -> None:
        self.is_over = True


def _lines() -> Iterator[str]:
    """Yield the lines of standard input; a terminal gets a prompt, at which Ctrl-D and Ctrl-C end it."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin)
        return
    with suppress(ImportError):
        import readline  # noqa: F401 - lets a person edit the line
    while True:
        try:
            yield input("> ").strip()
        except (EOFError, KeyboardInterrupt) as stop:
            if isinstance(stop, KeyboardInterrupt) and stop.args:  # SIGTERM
                raise
            print()
            return


def _hit_line(number: int, hit: Hit) -> Text:
    return Text.assemble((f"{number:3}  ", "bold"), source_to_text(hit.source, hit.locator))


def _file(name: str, command: str) -> str:
    if not name:
        raise InputError(f"{command} needs the name of a file")
    return name
