import pytest

from florence_rag.types import Locator
from florence_rag.viz.links import link_to


@pytest.mark.parametrize(
    ("source", "locator", "link"),
    [
        ("/v/walk.mp4", Locator(start_s=3.0, end_s=6.25), "file:///v/walk.mp4#t=3,6.25"),
        ("/v/walk.mp4", Locator(start_s=0.0), "file:///v/walk.mp4#t=0"),
        ("/d/a b.pdf", Locator(page=2), "file:///d/a%20b.pdf#page=2"),
        ("/p/a.png", Locator(), "file:///p/a.png"),
        ('/p/">#?&.png', Locator(), "file:///p/%22%3E%23%3F%26.png"),
        ("javascript:alert(1)", Locator(), ""),
        ("http://evil.example/a.png", Locator(), ""),
        ("item:42", Locator(), ""),
        ("the given picture", Locator(), ""),
        ("", Locator(), ""),
    ],
)
def test_only_paths_become_links(source, locator, link):
    assert link_to(source, locator) == link
