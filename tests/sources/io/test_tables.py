import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florence_rag.errors import InputError, MediaError
from florence_rag.sources import discovery
from florence_rag.sources.discovery import discover
from florence_rag.sources.io import Columns, list_members, open_uri, read_sidecar, tables
from florence_rag.types import Failure, Source
from florence_rag.workers import Limits, close_workers, stream
from tests.sources.io.makers import png, read_and_tell_process, write_parquet


def uris(path, columns=None):
    members, _ = list_members(str(path), columns or Columns())
    return [member.uri for member in members]


def read(uri):
    with open_uri(uri) as file:
        return file.read()


COLORS = ["red", "green", "blue", "red", "green"]


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_a_row_is_an_image_with_its_caption_and_metadata(tmp_path, form):
    images = [png(color) for color in COLORS]
    cells = images if form == "bytes" else [{"bytes": data, "path": "x.png"} for data in images]
    path = write_parquet(tmp_path / "p.parquet", {"id": list(range(5)), "image": cells, "text": COLORS})
    assert [read(uri) for uri in uris(path)] == images
    assert [read_sidecar(uri).caption for uri in uris(path)] == COLORS
    assert [read_sidecar(uri).metadata for uri in uris(path)] == [{"id": i} for i in range(5)]


def test_columns_can_be_named(tmp_path):
    path = write_parquet(
        tmp_path / "p.parquet", {"image": [b"a"], "second image": [b"b"], "text": ["no"], "more & text": ["yes"]}
    )
    (uri,) = uris(path, Columns("second image", "more & text"))
    assert read(uri) == b"b"
    assert read_sidecar(uri).caption == "yes"
    assert read_sidecar(uri).metadata == {"text": "no"}


def test_a_table_without_images_lists_its_columns(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"id": [1], "text": ["a"]})
    with pytest.raises(InputError, match=r"no column of images; .*--image-column`: id \(int64\), text \(string\)"):
        uris(path)
    with pytest.raises(InputError, match="no column 'photo'; its columns are id"):
        uris(path, Columns("photo"))
    with pytest.raises(InputError, match="no column 'label'"):
        uris(write_parquet(tmp_path / "q.parquet", {"image": [b""]}), Columns(caption="label"))


def test_the_likeliest_of_several_columns_of_bytes_is_taken(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"mask": [b"m"], "JPG": [b"j"], "image": [{"a": 1}]})
    assert read(uris(path)[0]) == b"j"


def test_rows_without_an_image_are_one_line_each(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"image": [b"a", None, b""]})
    first, second, third = uris(path)
    assert read(first) == b"a"
    for uri in (second, third):
        with pytest.raises(MediaError, match="has no image in its column 'image'"):
            read(uri)


def test_a_path_in_a_table_is_opened_only_below_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"inside")
    (tmp_path / "secret.png").write_bytes(b"outside")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    paths = ["a.png", "../secret.png", str(tmp_path / "secret.png"), "link.png", "gone.png"]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = pa.array([{"bytes": None, "path": each} for each in paths], kind)
    path = write_parquet(tmp_path / "in" / "p.parquet", {"image": cells})
    assert read(uris(path)[0]) == b"inside"
    for uri in uris(path)[1:]:
        with pytest.raises(MediaError, match="holds only a path"):
            read(uri)


def test_numbers_of_classes_become_their_names(tmp_path):
    classes = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    features = {"label": classes, "a column that was removed": classes, "photo": {"_type": "Image"}}
    schema = pa.schema(
        {"photo": pa.binary(), "label": pa.int64()}, {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(pa.table({"photo": [b"a", b"b"], "label": [1, 9]}, schema), tmp_path / "p.parquet")
    assert [read_sidecar(uri).metadata for uri in uris(tmp_path / "p.parquet")] == [{"label": "dog"}, {"label": 9}]


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"<html></html>" * 9, lambda data: b""])
def test_damaged_tables_are_one_line(tmp_path, damage):
    path = write_parquet(tmp_path / "p.parquet", {"image": [b"a"]})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match=r"is not a Parquet file, or is truncated or damaged"):
        uris(path)


def test_missing_rows_are_one_line(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"image": [b"a"]})
    with pytest.raises(InputError, match="no row 9"):
        read(f"parquet:{path}#row=9&image=image")
    with pytest.raises(InputError, match="has no row"):
        read(f"parquet:{path}#image=image")


def test_a_saved_data_set_is_read(tmp_path):
    rows = {"image": [{"bytes": png(color), "path": None} for color in COLORS], "caption": COLORS}
    saved = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    saved.save_to_disk(tmp_path / "saved")
    (path,) = (tmp_path / "saved").glob("*.arrow")
    assert [read(uri) for uri in uris(path)] == [png(color) for color in COLORS]
    assert [read_sidecar(uri).caption for uri in uris(path)] == COLORS


def test_an_arrow_file_with_a_footer_is_read_too(tmp_path):
    table = pa.table({"image": [b"a", b"b", b"c"]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert [read(uri) for uri in uris(tmp_path / "a.arrow")] == [b"a", b"b", b"c"]


def listed(path):
    """Return the number of sources in a table, and the reasons why others, or the rest of it, are none."""
    found = list(discover([path]))
    return sum(isinstance(each, Source) for each in found), [each.reason for each in found if isinstance(each, Failure)]


def test_a_small_file_that_stands_for_gigabytes_is_read_in_little_memory(tmp_path):
    rows, cell = 2_000, b"\x89PNG" + bytes(1_000_000)  # 2 GB
    images = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([cell]))
    pq.write_table(pa.table({"image": images}), tmp_path / "p.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "p.parquet").stat().st_size < 1000
    uri = uris(tmp_path / "p.parquet")[rows - 1]
    assert read(uri) == cell
    assert pa.default_memory_pool().max_memory() < 500_000_000


def test_a_cell_that_unpacks_to_more_than_the_limit_costs_only_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "_CONTAINER_LIMITS", Limits(memory_bytes=200_000_000))
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([bytes(30_000_000)]))
    pq.write_table(pa.table({"image": cells}), tmp_path / "p.parquet", compression="zstd", store_schema=False)
    found = list(discover([tmp_path / "p.parquet", write_parquet(tmp_path / "q.parquet", {"image": [b"a"]})]))
    assert [type(each) for each in found] == [Failure, Source]
    assert "memory" in found[0].reason


def test_a_table_that_declares_more_rows_than_it_has_gives_those_that_it_has(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.table({"image": [b"x%d" % i for i in range(100)]}), path, use_dictionary=False, store_schema=False
    )
    data, hundred, more = path.read_bytes(), b"\xc8\x01", b"\xd8\x01"  # 100 and 108 as Thrift writes them
    path.write_bytes(data[:-160] + data[-160:].replace(hundred, more))
    count, reasons = listed(path)
    assert (count, len(reasons)) == (100, 1)
    assert "fewer rows than it declares" in reasons[0]


def test_a_text_that_is_not_unicode_costs_only_its_row(tmp_path):
    texts = pa.array([b"good", b"\xff"]).view(pa.string())
    path = write_parquet(tmp_path / "p.parquet", {"image": [b"a", b"b"], "caption": texts})
    count, (reason,) = listed(path)
    assert count == 1 and "UnicodeDecodeError" in reason


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_table_is_opened_once_for_all_its_parts(tmp_path, form, monkeypatch):
    table = pa.table({"image": [b"%d" % number for number in range(50)]})
    path = tmp_path / f"parts.{form}"
    if form == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    opened = []
    for name in ("_open_parquet", "_open_arrow"):
        function = getattr(tables, name)
        monkeypatch.setattr(tables, name, lambda path, function=function: opened.append(path) or function(path))
    assert [read(uri) for uri in uris(path)] == [b"%d" % number for number in range(50)]
    assert len(opened) == 1


def test_rows_are_read_in_one_worker_that_is_not_replaced(tmp_path):
    path = write_parquet(tmp_path / "p.parquet", {"image": [b"%d" % number for number in range(3)]})
    limits = Limits(memory_bytes=144 * 2**20)  # the share of each of eight readers
    close_workers()  # those of other tests may keep so much memory that they are replaced
    pids = {pid for uri in uris(path) for pid in stream(read_and_tell_process, uri, limits=limits)}
    assert len(pids) == 1


def test_a_small_table_of_very_much_work_is_stopped_after_a_time_that_follows_from_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(discovery, "_CONTAINER_LIMITS", Limits(seconds=1, seconds_per_item=0))
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([bytes(1_000_000)]))
    pq.write_table(pa.table({"image": cells}), tmp_path / "p.parquet", compression="zstd", store_schema=False)
    *_, failure = discover([tmp_path / "p.parquet"])
    assert "longer than the limit of 1 s" in failure.reason


def test_a_table_with_two_columns_of_one_name_is_a_failure_of_its_own(tmp_path):
    """Arrow finds no column by a name that two have."""
    twice, good = tmp_path / "twice.parquet", tmp_path / "z.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([png("red")])] * 2, names=["image", "image"]), twice)
    write_parquet(good, {"image": [png("red")]})
    failure, row = discover([str(twice), str(good)])
    assert isinstance(failure, Failure) and failure.reason == f"'{twice}' has two columns 'image'; rename one"
    assert isinstance(row, Source)


@pytest.mark.parametrize("features", ["[1]", '{"image": [1]}', "5", '"x"', "null"])
def test_wrong_declarations_of_columns_are_ignored(tmp_path, features):
    table = pa.table({"image": [png("red")]})
    metadata = {"huggingface": f'{{"info": {{"features": {features}}}}}'}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "p.parquet")
    assert len(uris(tmp_path / "p.parquet")) == 1


def test_an_unexpected_error_costs_its_container_only(tmp_path, monkeypatch):
    paths = [str(write_parquet(tmp_path / f"{name}.parquet", {"image": [png("red")]})) for name in "ab"]
    real = discovery.stream_file

    def fail_for_the_first(container, *rest, **options):
        if container == paths[0]:
            raise KeyError(5)
        return real(container, *rest, **options)

    monkeypatch.setattr(discovery, "stream_file", fail_for_the_first)
    failure, row = discover(paths)
    assert failure == Failure(paths[0], f"'{paths[0]}' cannot be listed (unexpected KeyError)")
    assert isinstance(row, Source)
