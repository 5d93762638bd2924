"""Augmem: a streaming hybrid speech recogniser built on the augmented-memory transformer (arXiv 2005.08042).

The names in `__all__` are the public interface. Each is imported when it is first used, so `import augmem` loads
neither torch nor k2.

Example:
    >>> import augmem
    >>> augmem.Utterance("u1", "speaker", ["HELLO", "THERE"], ["HELLO"]).counts.rate
    0.5
"""

# ruff: noqa: I001 - one import per package, of names that are exported again

from __future__ import annotations

from typing import TYPE_CHECKING

from augmem.lazy_imports import lazy_names

if TYPE_CHECKING:  # for type checkers and editors
    from augmem.corpus import features_of_file as features_of_file
    from augmem.decoding import (
        Aligner as Aligner,
        Alignment as Alignment,
        DecodingConfig as DecodingConfig,
        DecodingGraph as DecodingGraph,
        Lattice as Lattice,
        SearchConfig as SearchConfig,
        arc_posteriors as arc_posteriors,
        best_path as best_path,
        best_word_sequences as best_word_sequences,
        find_lattices as find_lattices,
        lattice_oracle_errors as lattice_oracle_errors,
        word_confidences as word_confidences,
        path_word_ids as path_word_ids,
    )
    from augmem.encoder import (
        ENCODERS as ENCODERS,
        AugmentedMemoryEncoder as AugmentedMemoryEncoder,
        Encoder as Encoder,
        EncoderConfig as EncoderConfig,
        EncoderSpec as EncoderSpec,
        StreamState as StreamState,
        attention_maps as attention_maps,
        build_encoder as build_encoder,
    )
    from augmem.errors import UserError as UserError
    from augmem.experiment import Experiment as Experiment
    from augmem.features import FeatureConfig as FeatureConfig
    from augmem.graph import (
        Denominator as Denominator,
        Numerators as Numerators,
        read_denominator as read_denominator,
    )
    from augmem.lang import (
        Lang as Lang,
        normalise_text as normalise_text,
        read_lexicon as read_lexicon,
    )
    from augmem.machine import prepare_libraries as prepare_libraries
    from augmem.model import (
        AcousticModel as AcousticModel,
        ModelDescription as ModelDescription,
    )
    from augmem.objective import (
        LatticeFreeMmi as LatticeFreeMmi,
        Scores as Scores,
        ctc_scores as ctc_scores,
    )
    from augmem.onnx_engine import (
        EngineOptions as EngineOptions,
        OnnxRecognizer as OnnxRecognizer,
    )
    from augmem.recipe import (
        Recipe as Recipe,
        load_recipe as load_recipe,
    )
    from augmem.scoring import (
        Counts as Counts,
        Utterance as Utterance,
        compare as compare,
        wer_interval as wer_interval,
    )
    from augmem.streaming import (
        EndpointRule as EndpointRule,
        Event as Event,
        Package as Package,
        Recognizer as Recognizer,
        RecognizerOptions as RecognizerOptions,
        Stream as Stream,
        Word as Word,
        open_package as open_package,
    )


__version__ = "0.1.0"

PUBLIC = {
    "corpus": ("features_of_file",),
    "decoding": (
        "Aligner", "Alignment", "DecodingConfig", "DecodingGraph", "Lattice", "SearchConfig", "arc_posteriors",
        "best_path", "best_word_sequences", "find_lattices", "lattice_oracle_errors", "word_confidences",
        "path_word_ids",
    ),
    "encoder": (
        "ENCODERS", "AugmentedMemoryEncoder", "Encoder", "EncoderConfig", "EncoderSpec", "StreamState",
        "attention_maps", "build_encoder",
    ),
    "errors": ("UserError",),
    "experiment": ("Experiment",),
    "features": ("FeatureConfig",),
    "graph": ("Denominator", "Numerators", "read_denominator"),
    "lang": ("Lang", "normalise_text", "read_lexicon"),
    "machine": ("prepare_libraries",),
    "model": ("AcousticModel", "ModelDescription"),
    "objective": ("LatticeFreeMmi", "Scores", "ctc_scores"),
    "onnx_engine": ("EngineOptions", "OnnxRecognizer"),
    "recipe": ("Recipe", "load_recipe"),
    "scoring": ("Counts", "Utterance", "compare", "wer_interval"),
    "streaming": (
        "EndpointRule", "Event", "Package", "Recognizer", "RecognizerOptions", "Stream", "Word", "open_package",
    ),
}  # fmt: skip
"""Module or package of `augmem` -> its public names."""

__all__, __getattr__ = lazy_names(__name__, {f"{__name__}.{module}": names for module, names in PUBLIC.items()})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
