import time

import pytest

from florence_rag.errors import InputError
from florence_rag.sources.io.remote_stat import TransferLimits, limited, spool, version_from


def test_equal_tags_have_equal_positive_versions_and_an_empty_one_has_none():
    tags = ['"abc"', '"abd"', 1_700_000_000.5, "caf\udce9"]
    versions = [version_from(tag) for tag in tags]
    assert versions == [version_from(tag) for tag in tags]
    assert len(set(versions)) == 4 and all(0 < version < 1 << 63 for version in versions)
    assert version_from("") == version_from(None) == 0


def limited_blocks(blocks, max_bytes=4, deadline=None):
    end = time.monotonic() + 60 if deadline is None else deadline
    return limited(blocks, max_bytes, end, too_large="it is too large", too_slow="it is too slow")


def test_blocks_may_reach_the_limit_and_not_exceed_it():
    assert list(limited_blocks([b"ab", b"", b"cd"])) == [b"ab", b"", b"cd"]
    blocks = limited_blocks([b"ab", b"cde", b"f"])
    assert next(blocks) == b"ab"
    with pytest.raises(InputError, match="it is too large"):
        next(blocks)


def test_blocks_after_the_deadline_are_refused():
    with pytest.raises(InputError, match="it is too slow"):
        next(limited_blocks([b"ab"], deadline=time.monotonic() - 1))


@pytest.mark.parametrize("blocks", [[], [b"ab", b"cd"], [b"x" * (1 << 23)] * 3])
def test_a_file_of_any_size_is_read_from_its_beginning(blocks):
    with spool(blocks, "a.jpg", TransferLimits(), time.monotonic() + 60) as file:
        assert file.read() == b"".join(blocks)


def test_a_file_beyond_a_limit_is_named_with_the_limit():
    end = time.monotonic() + 60
    with pytest.raises(InputError, match=r"'a\.jpg' has more than 1,000 bytes; download it and index the file"):
        spool([b"x" * 1001], "a.jpg", TransferLimits(max_bytes=1000), end)
    with pytest.raises(InputError, match=r"'a\.jpg' took longer than 2\.5 s"):
        spool([b"x"], "a.jpg", TransferLimits(total_s=2.5), time.monotonic() - 1)


def test_the_error_of_a_transfer_that_breaks_off_is_raised():
    def blocks():
        yield b"ab"
        raise ConnectionResetError("the peer is gone")

    with pytest.raises(ConnectionResetError, match="the peer is gone"):
        spool(blocks(), "a.jpg", TransferLimits(), time.monotonic() + 60)
