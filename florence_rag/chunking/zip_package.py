"""Opens the ZIP archives that office documents and e-books are, with limits on what a file can make a reader do."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote
from xml.etree.ElementTree import Element
from zipfile import BadZipFile, ZipFile, ZipInfo

from florence_rag.chunking.formats import HEAD_BYTES, encrypted_error, format_error
from florence_rag.errors import FlorenceError, MediaError, MissingExtraError
from florence_rag.sources.io import open_uri

try:
    from defusedxml.ElementTree import fromstring
except ImportError as error:
    raise MissingExtraError("defusedxml", "office") from error

MAX_MEMBERS = 20_000
MAX_XML_BYTES = 64_000_000
"""The most bytes of XML that are parsed of one file. A novel has about three million."""
_OLE_HEAD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # of old formats, and of the containers of encrypted documents
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


class Relationship(NamedTuple):
    """What a part of an Office document refers to: the last word of the type, and the name of the other part."""

    id: str
    type: str
    target: str


class ZipPackage:
    """An open archive.

    Attributes:
        uri: The uri of the file, for error messages.
        file: The file itself.
        names: The names of all members, in order.
    """

    def __init__(self, archive: ZipFile, file: BinaryIO, uri: str) -> None:
        self._archive, self.file, self.uri = archive, file, uri
        self.names = dict.fromkeys(archive.namelist()).keys()
        if len(self.names) > MAX_MEMBERS:
            raise MediaError(f"{uri!r} has {len(self.names):,} parts; at most {MAX_MEMBERS:,} are read")
        for each in archive.infolist():
            if each.filename.endswith(".xml") and each.file_size > 4 * MAX_XML_BYTES:
                raise self._too_large(each, 4 * MAX_XML_BYTES)
        self._xml_bytes = 0

    def read(self, name: str, max_bytes: int = MAX_XML_BYTES) -> bytes:
        """Return a member; raise MediaError if it is encrypted or too large, and KeyError if it does not exist."""
        info = self._archive.getinfo(name)
        if info.flag_bits & 1:
            raise encrypted_error(self.uri)
        if info.file_size > max_bytes:
            raise self._too_large(info, max_bytes)
        return self._archive.read(info)

    def _too_large(self, info: ZipInfo, max_bytes: int) -> MediaError:
        size = f"{info.file_size:,} bytes; at most {max_bytes:,} are read"
        return MediaError(f"{self.uri!r} has a part {info.filename!r} of {size}")

    def digest(self, name: str) -> tuple[int, int]:
        """Return the checksum and size of a member, which are equal for copies."""
        info = self._archive.getinfo(name)
        return info.CRC, info.file_size

    def text(self, name: str) -> bytes:
        """Return a member that holds text; raise MediaError if it has more than MAX_XML_BYTES with the earlier ones."""
        data = self.read(name)
        self._xml_bytes += len(data)
        if self._xml_bytes > MAX_XML_BYTES:
            raise MediaError(f"{self.uri!r} has more than {MAX_XML_BYTES:,} bytes of text; split it into smaller files")
        return data

    def xml(self, name: str) -> Element:
        """Return the root element of an XML member, which may define no entities."""
        root: Element = fromstring(self.text(name))
        return root

    def relationships(self, name: str) -> list[Relationship]:
        """Return the relationships of a part of an Office document to other parts that exist."""
        rels = posixpath.join(posixpath.dirname(name), "_rels", f"{posixpath.basename(name)}.rels")
        found = (
            Relationship(
                each.get("Id", ""), each.get("Type", "").rpartition("/")[2], self.resolve(name, each.get("Target", ""))
            )
            for each in (self.xml(rels) if rels in self.names else ())
        )
        return [each for each in found if each.target in self.names]

    @staticmethod
    def resolve(name: str, reference: str) -> str:
        """Return the name of the member to which a reference in another member leads."""
        path = unquote(reference.partition("#")[0])
        return posixpath.normpath(posixpath.join("/", posixpath.dirname(name), path)).lstrip("/")


@contextmanager
def open_package(uri: str) -> Iterator[ZipPackage]:
    """Open an office document or e-book; damage anywhere while it is read becomes a MediaError."""
    with open_uri(uri) as file:
        head = file.read(HEAD_BYTES)
        if head.startswith(_OLE_HEAD):
            if _ENCRYPTED in head + file.read(MAX_XML_BYTES):
                raise encrypted_error(uri)
            raise MediaError(
                f"{uri!r} is of an old format; open it in its program and save it as .docx, .xlsx or .pptx"
            )
        file.seek(0)
        try:
            with ZipFile(file) as archive:
                yield ZipPackage(archive, file, uri)
        except FlorenceError:
            raise
        except BadZipFile as error:
            raise format_error(repr(uri), head, "an office document") from error
        except Exception as error:  # of the parsers of ZIP, XML and spreadsheets
            raise MediaError(f"{uri!r} is damaged; open it in its program and save it again") from error
