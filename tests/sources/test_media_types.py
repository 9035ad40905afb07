from florence_rag.sources.media_types import MEDIA_BY_SUFFIX, media_of


def test_every_documented_suffix_is_known():
    documented = "jpg jpeg png webp gif bmp tif tiff heic avif mp4 mov mkv webm avi txt md html pdf"
    assert {f".{suffix}" for suffix in documented.split()} <= set(MEDIA_BY_SUFFIX)


def test_the_medium_follows_from_the_suffix_of_a_path_or_url():
    assert media_of("/a/B.JPG") == "image" and media_of("https://host/a.pdf?page=2") == "pdf"
    assert media_of("/a/b.mp3") is None and media_of("/a/jpg") is None
