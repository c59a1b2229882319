"""Starters: small trained models that ship with mien, each a model folder in this package, called by name.

    words-en    words alone, English; trained by ``recipes/words_en`` on open human ratings of texts

``mien predict words-en CLIPS`` scores without training; ``stage1.text.from: words-en`` starts from its encoder, on
features that its backbone makes (``weights.text: words-en``). A folder of the same name in the current directory
comes first.
"""

from pathlib import Path

NAMES = ("words-en",)


def starter(name: str | Path) -> Path | None:
    """The folder of a starter; ``None`` for anything else, and for a name that is also a file or folder here.

    >>> starter("words-en").name, starter("runs/first")
    ('words-en', None)
    """
    return Path(__file__).parent / str(name) if str(name) in NAMES and not Path(name).exists() else None
