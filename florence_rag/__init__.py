"""Index images, videos, text and PDFs; search them by text or by image; ask them questions.

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that importing the package
loads neither torch nor pymilvus.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
