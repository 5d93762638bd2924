"""The kinds of input that `benchmarks.fuzz` damages: small valid files, and the readers of the program."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from augmem.errors import UserError
from benchmarks.fuzz import Kind
from benchmarks.fuzz_corpora import CORPORA, JSON, tone, write_files

_ARPA = """
\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-0.9\t</s>
-99\t<s>\t-0.1
-2.5\t<unk>
-0.6\tONE\t-0.2
-0.7\tTWO\t-0.3

\\2-grams:
-0.2\t<s> ONE\t-0.1
-0.4\tONE TWO
-0.5\tTWO TWO
-0.3\tTWO </s>

\\3-grams:
-0.1\t<s> ONE TWO

\\end\\
"""
_LEXICON = (
    "# numbers\nONE W AH1 N\nONE(2) HH W AH N\nTWO T UW # to\nthree\t0.99\t0.05\t1.0\t1.0\tTH R IY\n<UNK> SPN\n"
    "gr\u00fc\u00dfe g \u0281 y: s @\n\u4f60 n i3\nFOUR 0.5 F AO R\n;;; end\nFIVE F AY V\n"
)
_TEXT = (
    "Mr. Smith paid \u00a31,234.50 & 3\u00bd % of $5.5 million [laughs] at 7:05 on 9/11, 1844.\n"
    "\u2018But thou,\u2019 he said, \u2018to thine own\u2019 eyes ((ten)) {x} <y> 1990s 21st 1.000.000 .5 -5\n"
    "Gr\u00fc\u00dfe 3,5 Kilo \u4f60\u597d\uff0c\u4e16\u754c \u0645\u06cc\u200c\u062e\u0648\u0627 caf\u00e9\n"
)
_WORDS = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE QUICK BROWN FOX JUMPS OVER LAZY DOG"
_RECIPE = (
    "lang:\n  units: grapheme\n  min_count: 2\nlm:\n  extra_text: [a.txt]\nencoder:\n  type: augmented_memory\n"
    "  dim: 32\n  heads: 2\n  left_context: 0.32\ntraining:\n  epochs: 2\n  batches:\n    max_duration: 30\n"
    "corpus:\n  limits:\n    longest: 30\n"
)
_MESSAGES = ('{"sample_rate": 16000, "format": "int16"}\n', '{"end": true}\n', '{"sample_rate": 8e3, "format": null}\n')


def _read_arpa(folder: Path) -> None:
    """Read a model, prune it, and copy it for KenLM."""
    from augmem.lang import read_arpa
    from augmem.lang.arpa import copy_arpa
    from augmem.lang.ngram import evaluate

    for path in sorted(folder.iterdir()):
        copy = folder.parent / "copy.arpa"
        copy_arpa(path, copy, {"ONE"})
        read_arpa(path).prune(1e-3)
        evaluate(copy, {"dev": ["ONE TWO"]}, {"ONE"}, path.name)


def _read_grammar(folder: Path) -> None:
    """Convert a model to FST text by kaldilm."""
    from augmem.lang import write_given_grammar

    write_given_grammar(folder / "a.arpa", folder / "lang", folder.parent / "fst.txt")


def _make_lang(folder: Path) -> None:
    from augmem.lang import LangConfig, Normalisation, prepare_lang

    prepare_lang(LangConfig(units="bpe", bpe_vocab_size=32), [_WORDS] * 9, folder / "bpe")
    rules = Normalisation("unicode", "de")
    prepare_lang(LangConfig(units="grapheme"), ["gr\u00fc\u00dfe aus"], folder / "letters", normalisation=rules)


def _make_grammar(folder: Path) -> None:
    from augmem.lang import LangConfig, prepare_lang

    (folder / "lexicon").write_text("ONE W AH N\nTWO T UW\n")
    prepare_lang(LangConfig(lexicon=str(folder / "lexicon"), g2p="none"), ["ONE TWO"], folder / "lang")
    (folder / "lexicon").unlink()
    (folder / "a.arpa").write_text(_ARPA)
    for path in folder.glob("lang/*"):
        if path.name not in ("words.txt", "tokens.txt", "lexicon.txt"):
            path.unlink()


def _read_lang(folder: Path) -> None:
    from augmem.lang import Lang, validate_lang
    from augmem.lang.bpe import encode_words

    for part in sorted(folder.iterdir()):
        lang = Lang.load(part)
        assert lang.num_units and lang.normalisation and lang.silence_probability >= 0
        problems = validate_lang(part)
        if part.name == "bpe":
            encode_words(["ONE", "ZERO"], part)
        if problems:
            raise UserError(problems[0])


def _read_lexica(folder: Path) -> None:
    from augmem.lang import ENGLISH, Normalisation, read_lexicon

    for path in sorted(folder.iterdir()):
        for rules in (ENGLISH, Normalisation("unicode"), Normalisation("none")):
            read_lexicon(path, rules)


def _read_words(folder: Path) -> None:
    from augmem.lang import ENGLISH, Normalisation
    from augmem.lang.vocabulary import extra_vocabulary

    for rules in (ENGLISH, Normalisation("unicode", "de"), Normalisation("none")):
        extra_vocabulary([str(path) for path in folder.iterdir()], 100, None, rules)


def _read_text(folder: Path) -> None:
    """Normalise the text in all ways; normalised text must not change."""
    from augmem.lang import Normalisation

    for line in (folder / "text").read_bytes().decode(errors="replace").split("\n"):
        for form, language in (
            ("english", None),
            ("unicode", None),
            ("unicode", "de"),
            ("unicode", "ja"),
            ("none", None),
        ):
            rules = Normalisation(form, language)  # type: ignore[arg-type]
            words = rules(line)
            rules.losses(line)
            assert rules(words) == words, f"{rules}: {words[:50]!r} is not normalised"


def _read_messages(folder: Path) -> None:
    from augmem.serving.client_messages import Refusal, check_end, parse_first_message

    for message in (folder / "messages").read_bytes().decode(errors="replace").split("\n"):
        for parse in (parse_first_message, check_end):
            try:
                parse(message)
            except Refusal:
                continue


@cache
def _parser() -> Any:
    from augmem.recipe import recipe_parser

    return recipe_parser(exit_on_error=False)


def _read_recipe(folder: Path) -> None:
    from argparse import ArgumentError

    from augmem.recipe import instantiate
    from augmem.renamed_options import update_options

    try:
        values = _parser().parse_args(update_options(["--config", str(folder / "recipe.yaml")]))
    except (ArgumentError, SystemExit) as error:
        raise UserError(str(error)) from None
    instantiate(_parser(), values)


def _make_deb(folder: Path) -> None:
    from tests.corpus.corpora import debian_package

    for compression in ("xz", "gz", ""):
        debian_package(folder / f"a{compression}.deb", {"usr/share/game": b"content" * 20}, compression)


def _read_deb(folder: Path) -> None:
    from augmem.corpus.debian import read_package

    for path in sorted(folder.iterdir()):
        read_package(path, "usr/share/game")


def _make_tensors(folder: Path) -> None:
    import torch

    from augmem.tensors import save_tensors

    save_tensors(
        folder / "a.safetensors", _tensor_format(), {"x": torch.ones(3, 2), "y": torch.arange(5)}, {"text": "value"}
    )


def _tensor_format() -> Any:
    from augmem.tensors import TensorFormat

    return TensorFormat("fuzz 1", "a test", "write it again")


def _read_tensors(folder: Path) -> None:
    from augmem.tensors import load_tensors

    tensors, _ = load_tensors(folder / "a.safetensors", _tensor_format())
    assert all(bool((tensor == tensor).numel() >= 0) for tensor in tensors.values())


def _make_package(folder: Path) -> None:
    import tempfile

    from tests.tiny import make_package

    with tempfile.TemporaryDirectory() as name:
        make_package(Path(name)).rename(folder / "package")


def _read_package(folder: Path) -> None:
    from augmem.streaming import Recognizer

    recognizer = Recognizer.load(folder / "package")
    stream = recognizer.stream()
    stream.accept_waveform(tone(), 8000)
    stream.finish()
    recognizer.step([stream])


def _make_recogs(folder: Path) -> None:
    write_files(folder, recogs="u1:\tref=['A', 'B']\nu1:\thyp=['A']\nu2:\tref=[]\nu2:\thyp=['it\\'s', \"don't\"]\n")


def _read_recogs(folder: Path) -> None:
    from augmem.scoring import read_recogs

    read_recogs(folder / "recogs")


def _file(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content

    def make(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return make


def _make_arpa(folder: Path) -> None:
    (folder / "a.arpa").write_text(_ARPA)
    (folder / "b.arpa").write_bytes(gzip.compress(_ARPA.encode(), mtime=0))


def _make_lexica(folder: Path) -> None:
    (folder / "a").write_text(_LEXICON)
    (folder / "b.xz").write_bytes(lzma.compress(_LEXICON.encode()))


def _make_words(folder: Path) -> None:
    (folder / "words.tsv").write_text("ONE\t12\ntwo\t3\nF\u00fcnf\t5\n")
    (folder / "text.txt").write_text(_TEXT)


KINDS: dict[str, Kind] = {
    **CORPORA,
    "ARPA": Kind(
        _make_arpa, _read_arpa, 10, (b"\\end\\", b"\\2-grams:", b"\\data\\", b"ngram 9=1", b"-99", b"</s>", b"<s> ONE")
    ),
    "ARPA to FST": Kind(_make_grammar, _read_grammar, 0.4, (b"#0", b"<eps>", b"</s>")),
    "lexica": Kind(_make_lexica, _read_lexica, 10, (b"#1", b"(2)", b"0.5", b";;;", b" # ", b"<UNK>")),
    "lang folders": Kind(_make_lang, _read_lang, 4, (b"#1", b"<blk>", b"#0")),
    "word lists": Kind(_make_words, _read_words, 2),
    "text": Kind(
        _file("text", _TEXT), _read_text, 1.5, ("\u00bd".encode(), b"$", b"(", b"1/2", "\u2019".encode(), b"%", b"&")
    ),
    "server messages": Kind(_file("messages", "".join(_MESSAGES)), _read_messages, 20, JSON),
    "recipes": Kind(
        _file("recipe.yaml", _RECIPE), _read_recipe, 0.8, (b"&a ", b"*a", b"!!python/object:os.system", b"- ", b": ")
    ),
    "Debian packages": Kind(_make_deb, _read_deb, 6),
    "safetensors": Kind(_make_tensors, _read_tensors, 6, JSON),
    "packages": Kind(_make_package, _read_package, 0.5, JSON),
    "recognition results": Kind(
        _make_recogs, _read_recogs, 8, (b"ref=", b"hyp=", b"['A']", b"\\x", b"__import__('os')")
    ),
}
