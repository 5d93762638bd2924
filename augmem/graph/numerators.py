"""Numerators on disk: frame graphs of transcripts, made by the graphs stage and mapped into memory by training.

A folder has files with some hundred graphs each, ctc-0000.safetensors, ctc-0001.safetensors and so on. Every graph has
a key, and all are sorted by key. In a file, the arrays of its n graphs are concatenated; graph i has the states
`first_state[i]` to `first_state[i + 1]` and the arcs `first_arc[i]` to `first_arc[i + 1]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from augmem.errors import UserError
from augmem.files import sha256_file, sha256_json
from augmem.graph.context import Biphones, context_hash
from augmem.graph.frames import FrameGraph, FrameGraphs, stack_graphs
from augmem.tensors import TensorFormat, load_tensors, save_tensors

if TYPE_CHECKING:  # the sums over graphs need torch alone
    from augmem.lang import Lang

FILE_FORMAT = TensorFormat("augmem numerators 1", "a file of numerators", "run the stage graphs again")
Kind = Literal["ctc", "mmi"]
_OF_STATES, _OF_ARCS = ("labels", "initial", "final"), ("sources", "targets", "scores")
_ARRAYS = ("keys", "first_state", "first_arc", *_OF_STATES, *_OF_ARCS)


class Numerators:
    """The stored graphs of transcripts, without (ctc) or with the phone LM (mmi).

    Args:
        folder: the graphs stage's results.
        kind: ctc or mmi.
        lang: lang folder of the transcripts.
        definition: units, topology, context and phone LM of the graphs, see `numerator_definition`.

    Raises:
        UserError: there are no graphs, or a file is damaged or has another definition.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from augmem.automata import prepare_training_graphs
        >>> from augmem.graph import GraphConfig
        >>> from augmem.lang import Lang, LangConfig, prepare_lang
        >>> with TemporaryDirectory() as name:
        ...     folder, texts = Path(name), ["A CAT", "A"]
        ...     prepare_lang(LangConfig(units="grapheme"), texts, folder)
        ...     lang = Lang.load(folder)
        ...     prepare_training_graphs(GraphConfig(), folder, texts, folder, kinds=("ctc",))
        ...     numerators = Numerators(folder, "ctc", lang, numerator_definition(lang.units_hash, "ctc", (), None))
        ...     numerators(["A", "A CAT", "A"]).batch
        3
    """

    def __init__(self, folder: Path, kind: Kind, lang: Lang, definition: Mapping[str, str]) -> None:
        self.lang, self.kind = lang, kind
        self.remedy = f"run: augmem graphs --exp {folder.parent}"
        paths = sorted(folder.glob(f"{kind}-*.safetensors"))
        if not paths:
            raise UserError(f"{folder}: no numerators of {kind}; {self.remedy}")
        self.files = [self._map(path, definition) for path in paths]
        self.places = {
            key: (number, index)
            for number, file in enumerate(self.files)
            for index, key in enumerate(file["keys"].tolist())
        }

    def _map(self, path: Path, definition: Mapping[str, str]) -> dict[str, Tensor]:
        arrays, found = load_tensors(path, FILE_FORMAT)
        for name, value in definition.items():
            if found.get(name) != value:
                raise UserError(f"{path}: the {name} is {found.get(name)!r}, expected {value!r}; {self.remedy}")
        with FILE_FORMAT.explain(path):
            return {name: arrays[name] for name in _ARRAYS}

    def __call__(self, texts: Sequence[str]) -> FrameGraphs:
        """Return the graphs of a batch of transcripts, in order.

        Raises:
            UserError: the graph of a transcript is missing.
        """
        return stack_graphs([self._graph(text) for text in texts])

    def _graph(self, text: str) -> FrameGraph:
        place = self.places.get(transcript_key(self.lang, text))
        if place is None:
            raise UserError(
                f"{self.lang.folder.parent}: no {self.kind} numerator of the transcript {text!r} with the "
                f"pronunciations of {self.lang.folder}; {self.remedy}"
            )
        return unpack_graph(self.files[place[0]], place[1])


def numerator_definition(units_hash: str, topology: str, biphones: Biphones, phone_lm: Path | None) -> dict[str, str]:
    """Return the inputs that all numerators of a folder have in common.

    Args:
        units_hash: hash of the units and their ids.
        topology: name of H.
        biphones: context of H.
        phone_lm: file of P; None for CTC.
    """
    return {
        "units": units_hash,
        "topology": topology,
        "context": context_hash(biphones),
        "phone LM": "" if phone_lm is None else sha256_file(phone_lm),
    }


def transcript_key(lang: Lang, text: str) -> int:
    """Return a hash of the inputs of one numerator, besides its definition.

    These are the pronunciations of the words, and whether silence may occur between them.

    Args:
        lang: lang folder.
        text: normalised transcript.

    Returns:
        64 bits as a signed integer.
    """
    known = lang.pronunciations
    words = [known[word if word in known else lang.oov_word] for word in text.split()]
    digest = hashlib.sha256(json.dumps([lang.silence_probability > 0, words]).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def pronunciations_hash(lang: Lang, texts: Iterable[str]) -> str:
    """Return a hash of the pronunciations of the words of a transcript, as units with ids."""
    words = {word if word in lang.pronunciations else lang.oov_word for text in texts for word in text.split()}
    return sha256_json([lang.units_hash, {word: lang.pronunciations[word] for word in {*words, lang.oov_word}}])


def write_numerators(
    path: Path, keys: Sequence[int], graphs: Sequence[FrameGraph], definition: Mapping[str, str]
) -> None:
    """Write a file of graphs.

    Args:
        path: a .safetensors file.
        keys: (n,) `transcript_key` of each graph.
        graphs: n graphs.
        definition: see `numerator_definition`.
    """
    arrays = {name: _narrow(torch.cat([getattr(graph, name) for graph in graphs])) for name in FrameGraph._fields}
    arrays |= {
        "keys": torch.tensor(keys, dtype=torch.int64),
        "first_state": torch.tensor([0, *(len(graph.labels) for graph in graphs)]).cumsum(0),
        "first_arc": torch.tensor([0, *(len(graph.scores) for graph in graphs)]).cumsum(0),
    }
    save_tensors(path, FILE_FORMAT, arrays, definition)


def _narrow(array: Tensor) -> Tensor:
    """Return integers as int16 if they fit, else as int32; a constant as one value."""
    if len(array) and bool((array == array[0]).all()):
        array = array[:1]
    if array.is_floating_point():
        return array
    return array.to(torch.int16 if not len(array) or int(array.max()) < 2**15 else torch.int32)


def unpack_graph(arrays: Mapping[str, Tensor], index: int) -> FrameGraph:
    """Return one graph of a file that `write_numerators` wrote."""
    parts: dict[str, Tensor] = {}
    for names, first in ((_OF_STATES, "first_state"), (_OF_ARCS, "first_arc")):
        begin, end, total = (int(arrays[first][place]) for place in (index, index + 1, -1))
        parts |= {name: _widen(arrays[name], total)[begin:end] for name in names}
    return FrameGraph(**{name: x if x.is_floating_point() else x.long() for name, x in parts.items()})


def _widen(array: Tensor, size: int) -> Tensor:
    """Undo `_narrow` for a constant."""
    return array.expand(size) if len(array) == 1 else array
