"""Words and how they sound: text normalisation, lexicon, G2P, lang folders and n-gram language models.

Everything a recogniser must know about its language before it hears any speech. Lang folders have icefall's
format, so they can be exchanged with it.
"""

from augmem.lang.text import normalise_text

__all__ = ["normalise_text"]
