"""Written comments as a speech recogniser would have given them, so that the model need not see punctuation.

Lower case, no punctuation, no emoji, no links, marks of the site spelt out; half of the texts also lose their
apostrophes, as those of some recognisers do.
"""

import re

_SAID = {"[name]": "someone", "[religion]": "religion", "&amp;": " and ", "&": " and ", "%": " percent ", "+": " plus "}
_LINK = re.compile(r"https?://\S+|www\.\S+|\b[ru]/\w+")
_NOT_SAID = re.compile(r"[^\w\s']|_")
_LONG = re.compile(r"([a-z])\1{2,}")


def spoken(text: str, apostrophes: bool = True) -> str:
    """A comment as it would be recognised.

    >>> spoken("I LOVE this sooooo much!!! :-) [NAME] isn't wrong, see https://a.b/c")
    "i love this soo much someone isn't wrong see"
    >>> spoken("I’d say 100% — don't", apostrophes=False)
    'id say 100 percent dont'
    """
    text = text.replace("’", "'").casefold()
    for written, said in _SAID.items():
        text = text.replace(written, said)
    text = _NOT_SAID.sub(" ", _LONG.sub(r"\1\1", _LINK.sub(" ", text)))
    text = re.sub(r"(?<!\w)'|'(?!\w)", " ", text) if apostrophes else text.replace("'", "")
    return " ".join(text.split())
