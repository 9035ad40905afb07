import pytest

from florence_rag.chunking import zip_package
from florence_rag.chunking.office_text import read_sections
from florence_rag.chunking.zip_package import open_package
from florence_rag.errors import MediaError
from tests.chunking.office_samples import archive, docx, epub, open_document, paragraph, relationships
from tests.chunking.samples import encode, scene

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ENTITIES = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>'
ENCRYPTED_ODF = {"META-INF/manifest.xml": "<m><file-entry><encryption-data/></file-entry></m>"}


def protection(algorithm: str) -> dict[str, str]:
    return {"META-INF/encryption.xml": f'<encryption><EncryptionMethod Algorithm="{algorithm}"/></encryption>'}


def locked(data: bytes) -> bytes:
    """Return an archive whose members declare to be encrypted."""
    return data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "is encrypted; save a copy without password"),
        ("a.docx", OLE, "is of an old format; open it in its program and save it as .docx"),
        ("a.odt", open_document("", ENCRYPTED_ODF), "is encrypted"),
        ("a.epub", epub({}, protection("http://www.w3.org/2001/04/xmlenc#aes128-cbc")), "is encrypted"),
        ("a.docx", locked(docx(paragraph("x"))), "is encrypted"),
        ("a.docx", encode(scene(1), "JPEG"), "is not an office document: it starts like a JPEG image"),
        ("a.docx", b"PK\x03\x04" + bytes(90), "is truncated or damaged"),
        ("a.docx", docx(paragraph("x"))[:-30], "is truncated or damaged"),
        ("a.docx", archive({"x": "y"}), "is damaged"),
        ("a.docx", archive({"_rels/.rels": ENTITIES}), "is damaged"),
        ("a.docx", docx("<w:p>" * 5000 + "</w:p>" * 5000), "is damaged"),
        ("a.docx", docx("<w:p>"), "is damaged"),
        ("a.xlsx", archive({"_rels/.rels": relationships()}), "is damaged"),
        ("a.epub", archive({"META-INF/container.xml": "<c/>"}), "is damaged"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, name, data, reason):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(MediaError, match=rf"{name}' {reason}"), open_package(str(path)) as package:
        list(read_sections(package))


def test_obfuscated_fonts_are_no_encryption(tmp_path):
    path = tmp_path / "a.epub"
    path.write_bytes(epub({"a.xhtml": "<p>x"}, protection("http://www.idpf.org/2008/embedding")))
    with open_package(str(path)) as package:
        assert [section.text for section in read_sections(package)] == ["x"]


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("MAX_XML_BYTES", 1000, "a part 'word/document.xml' of 50,1.. bytes; at most"),
        ("MAX_MEMBERS", 3, "has 5 parts; at most 3"),
    ],
)
def test_the_size_of_a_file_is_limited(tmp_path, monkeypatch, limit, value, reason):
    monkeypatch.setattr(zip_package, limit, value)
    path = tmp_path / "a.docx"
    path.write_bytes(docx(paragraph("x" * 50_000), {"x": ""}))
    with pytest.raises(MediaError, match=reason), open_package(str(path)) as package:
        list(read_sections(package))


@pytest.mark.parametrize(
    ("name", "reference", "target"),
    [
        ("ppt/slides/a.xml", "../media/i.png", "ppt/media/i.png"),
        ("a.xml", "/x/b%20c.xml#d", "x/b c.xml"),
        ("a", "../../x", "x"),
    ],
)
def test_references_lead_to_members(name, reference, target):
    assert zip_package.ZipPackage.resolve(name, reference) == target
