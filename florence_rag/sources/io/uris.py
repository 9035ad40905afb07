"""The forms of a source's uri (an absolute path, a URL or a member of a container), and its medium.

/photos/a.jpg
https://host/a.jpg    s3://bucket/a.jpg
tar:/photos/shard.tar#0001.jpg    tar:s3://bucket/shard.tar#0001.jpg
parquet:/photos/part.parquet#row=17&image=photo    arrow:/dataset/data-00000-of-00001.arrow#row=17&image=photo
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

from florence_rag.types import Media

Scheme = Literal["tar", "parquet", "arrow"]

SCHEME_BY_SUFFIX: dict[str, Scheme] = {".tar": "tar", ".parquet": "parquet", ".arrow": "arrow"}
CAMERA_RAW_SUFFIXES = tuple(".dng .cr2 .cr3 .crw .nef .nrw .arw .raf .rw2 .orf .pef .srw".split())
_SUFFIXES: Mapping[Media, str] = {
    "image": ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .heic .heif .hif .avif .mpo "
    + " ".join(CAMERA_RAW_SUFFIXES),
    "video": """.mp4 .m4v .mov .qt .3gp .3gpp .3g2 .mkv .webm .avi .divx .wmv .asf .flv .f4v .ogv .ogm .ts .mts .m2ts
        .m2t .mpg .mpeg .mpe .m1v .m2v .vob .mxf .dv .rm .rmvb""",
    "text": ".txt .text .md .markdown .html .htm .xhtml",
    "pdf": ".pdf",
    "office": ".docx .docm .dotx .pptx .pptm .ppsx .potx .xlsx .xlsm .xltx .odt .odp .ods .epub",
}
MEDIA_BY_SUFFIX: Mapping[str, Media] = {
    suffix: media for media, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
_EXTRA_BY_SUFFIX: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(_SUFFIXES["office"].split(), ("openpyxl", "office")),
    **dict.fromkeys(CAMERA_RAW_SUFFIXES, ("rawpy", "raw")),
}
"""The package that reads files with a suffix, and the extra of florence_rag that installs it, if it is optional."""
READABLE_FORM: Mapping[str, str] = {
    **{
        ".doc": ".docx",
        ".dot": ".docx",
        ".rtf": ".docx",
        ".ppt": ".pptx",
        ".pps": ".pptx",
        ".xls": ".xlsx",
        ".xlsb": ".xlsx",
    },
    **dict.fromkeys((".pages", ".key", ".numbers", ".mobi", ".azw3", ".xps", ".djvu"), ".pdf"),
}
"""The form as which a file can be saved, so that it is read."""
SUBTITLE_SUFFIXES = tuple(".srt .vtt .ass .ssa .sbv .ttml .dfxp .smi .sami .sub .idx .sup".split())
AMBIGUOUS_SUFFIXES = (".ts", ".mts")
"""Suffixes of videos that TypeScript and Qt have as well, so that the first bytes decide."""
_MEDIA_BY_HEAD: Mapping[bytes, Media] = {
    b"\xff\xd8\xff": "image",
    b"\x89PNG\r\n\x1a\n": "image",
    b"GIF8": "image",
    b"RIFFWEBP": "image",
    b"II*\0": "image",
    b"MM\0*": "image",
    b"%PDF-": "pdf",
    b"\x1aE\xdf\xa3": "video",
    b"RIFFAVI ": "video",
    b"\0\0\x01\xba": "video",  # MPEG program stream
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "video",  # ASF
    b"FLV\x01": "video",
    b".RMF": "video",
}
_TRANSPORT_STREAM = re.compile(rb"(?s).{0,207}?(?:(?:G.{187}){3}|(?:G.{191}){3}|(?:G.{203}){3})")
HEAD_BYTES = 1024
_IMAGE_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"))
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a tar, or one row of a table."""

    scheme: Scheme
    container: str  # an absolute path or a URL
    fragment: str  # the name of the file, or the row and its columns, quoted

    @property
    def uri(self) -> str:
        """The uri from which `parse_member` returns this member."""
        return f"{self.scheme}:{self.container}#{self.fragment}"


def is_url(text: str) -> bool:
    """Return whether a text has the form scheme://..."""
    return _URL.match(text) is not None


def is_http(url: str) -> bool:
    """Return whether a URL is HTTP or HTTPS, whose servers do not list folders."""
    return url.lower().startswith(("http://", "https://"))


def is_path(uri: str) -> bool:
    """Return whether a uri is neither a URL nor a member of a container."""
    return not is_url(uri) and parse_member(uri) is None


def parse_member(uri: str) -> Member | None:
    """Return the member that a uri names, whose fragment follows the last "#"; None for another form of uri."""
    scheme, _, rest = uri.partition(":")
    container, mark, fragment = rest.rpartition("#")
    if scheme not in SCHEME_BY_SUFFIX.values() or not mark or not (os.path.isabs(container) or is_url(container)):
        return None
    return Member(scheme, container, fragment)  # type: ignore[arg-type]


def suffix_of(uri: str) -> str:
    """Return the suffix of a path, or of the path of a URL, in lower case."""
    path = uri.partition("://")[2].partition("/")[2] if is_url(uri) else uri
    if is_http(uri):  # in buckets, keys may contain these characters
        path = re.split(r"[?#]", path)[0]
    return os.path.splitext(path)[1].lower()


def container_scheme(uri: str) -> Scheme | None:
    """Return the kind of container of a path or URL by its suffix; None if it is not a container."""
    return SCHEME_BY_SUFFIX.get(suffix_of(uri))


def media_of(uri: str) -> Media | None:
    """Return the medium of a source by the suffix of its name; None if it cannot be read. Tables hold images."""
    if member := parse_member(uri):
        return media_of(unquote_name(member.fragment)) if member.scheme == "tar" else "image"
    suffix = suffix_of(uri)
    return None if missing_extra(suffix) else MEDIA_BY_SUFFIX.get(suffix)


@cache
def missing_extra(suffix: str) -> str:
    """Return the extra of florence_rag whose package is needed to read files with a suffix, if it is not installed."""
    package, extra = _EXTRA_BY_SUFFIX.get(suffix, ("", ""))
    return extra if package and find_spec(package) is None else ""


def skip_reason(uri: str) -> str:
    """Return why a file in a folder is not read, by its name: its suffix, with what to do if there is anything."""
    suffix = suffix_of(uri)
    if extra := missing_extra(suffix):
        return f"{suffix} (install florence-rag[{extra}])"
    if form := READABLE_FORM.get(suffix):
        return f"{suffix} (save as {form})"
    if container_scheme(uri) and not parse_member(uri):
        return f"{suffix} (give it by name)"
    return suffix if re.fullmatch(r"\.[\w-]{1,16}", suffix) else "without suffix"


def is_unusual(suffix: str) -> bool:
    """Return whether a suffix is missing or odd, as in IMG_1, a.jpg_large and a.jpeg~, so that it tells nothing."""
    return not suffix[1:].isalnum()


def guess_media(path: str) -> Media | None:
    """Return the medium of a local file by its first bytes; None for text, whose first bytes may be any."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return _media_of_head(file.read(HEAD_BYTES))
    except OSError:
        return None


def is_transport_stream(head: bytes) -> bool:
    """Return whether the first HEAD_BYTES of a file are packets of an MPEG transport stream, also of a cut one."""
    is_text = not re.search(rb"[\0-\x08]", head)  # whose lines may be as regular as packets
    return not is_text and _TRANSPORT_STREAM.match(head) is not None


def _media_of_head(head: bytes) -> Media | None:
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in _IMAGE_BRANDS else None if head[8:11] in (b"M4A", b"M4B") else "video"
    key = head[:4] + head[8:12] if head.startswith(b"RIFF") else head
    if is_transport_stream(head):
        return "video"
    return next((media for start, media in _MEDIA_BY_HEAD.items() if key.startswith(start)), None)


def is_system_file(name: str) -> bool:
    """Return whether a system or an office program leaves a file with this name behind, which nobody misses."""
    return name.startswith("~$") or name.lower() in _SYSTEM_FILES


def is_ignored(name: str) -> bool:
    """Return whether a file in a folder is hidden or belongs to the system, so that it is not even counted."""
    return name.startswith(".") or is_system_file(name)


def quote_name(name: str) -> str:
    """Return a name without "#", for a uri that stays readable."""
    return name.replace("%", "%25").replace("#", "%23")


def unquote_name(name: str) -> str:
    """Return the name that `quote_name` quoted."""
    return name.replace("%23", "#").replace("%25", "%")
