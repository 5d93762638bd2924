"""Batches: a pure function of cuts, configuration and epoch, independent of the state of the process."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet

from augmem.corpus import (
    Batch,
    BatchConfig,
    SpecAugmentConfig,
    evaluation_batches,
    load_cuts,
    num_batches,
    training_batches,
)
from augmem.corpus.batches import augment, random_state
from augmem.errors import UserError
from tests.corpus.corpora import PART

PLAIN = SpecAugmentConfig(enabled=False)


@pytest.fixture(scope="module")
def cuts(features: Path) -> CutSet:
    return load_cuts(features, [PART])


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    """Bit for bit."""
    assert [batch.ids for batch in first] == [batch.ids for batch in second]
    assert [batch.texts for batch in first] == [batch.texts for batch in second]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.lengths, other.lengths)


def disturb_random_states() -> None:
    random.seed()
    np.random.seed()
    torch.seed()


configs = st.builds(
    BatchConfig,
    max_duration=st.floats(1.0, 60.0),
    num_buckets=st.integers(1, 40),
    seed=st.integers(0, 2**40),
    workers=st.just(0),
    spec_augment=st.builds(
        SpecAugmentConfig,
        enabled=st.booleans(),
        time_warp=st.floats(0.0, 2.0),
        frequency_masks=st.integers(0, 3),
        frequency_mask_bins=st.integers(1, 100),
        time_masks=st.integers(0, 12),
        time_mask=st.floats(0.01, 3.0),
        time_mask_fraction=st.floats(0.0, 1.0),
    ),
)


@settings(max_examples=40)
@given(config=configs, epoch=st.integers(0, 1000), data=st.data())
def test_resumed_epoch_equals_the_rest_of_the_epoch_bit_for_bit(
    cuts: CutSet, config: BatchConfig, epoch: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, 3), label="batches of a step")
    whole = list(training_batches(cuts, config, epoch, step_batches=size))
    assert len(whole) == num_batches(cuts, config, epoch)
    assert sorted(id for batch in whole for id in batch.ids) == sorted(cut.id for cut in cuts)
    skip = data.draw(st.integers(0, len(whole)), label="skip")
    disturb_random_states()
    rest = training_batches(cuts, config, epoch, range(skip, len(whole)), size)
    assert_equal(list(rest), whole[skip:])


def test_batches_of_a_step_have_similar_sizes(cuts: CutSet) -> None:
    """Pairing batches of adjacent sizes minimises the sum of the larger sizes."""
    config = BatchConfig(max_duration=8, num_buckets=2, workers=0, spec_augment=PLAIN)
    sizes = [batch.features[:, :, 0].numel() for batch in training_batches(cuts, config, 0, step_batches=2)]
    steps = [max(sizes[first : first + 2]) for first in range(0, len(sizes) - 1, 2)]
    assert len(steps) > 2 and sum(steps) == sum(sorted(sizes)[1::2])


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_changes_nothing(cuts: CutSet, workers: int) -> None:
    config = BatchConfig(max_duration=15, num_buckets=3, workers=0)
    numbers = [3, 0, 2]
    alone = list(training_batches(cuts, config, epoch=3, numbers=numbers))
    helped = list(training_batches(cuts, replace(config, workers=workers), epoch=3, numbers=numbers))
    assert_equal(alone, helped)


def test_features_in_memory_and_on_disk_give_equal_batches(cuts: CutSet, features: Path) -> None:
    config = BatchConfig(workers=0)
    on_disk = load_cuts(features, [PART], in_memory=False)
    assert_equal(list(training_batches(cuts, config, 0)), list(training_batches(on_disk, config, 0)))


@pytest.mark.parametrize("workers", [0, 1])
def test_random_states_of_training_are_unchanged(cuts: CutSet, workers: int) -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    expected = {}
    for used in (False, True):
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        if used:
            list(training_batches(cuts, BatchConfig(workers=workers), 0))
        expected[used] = draws()
    assert expected[False] == expected[True]


def test_epochs_and_seeds_differ(cuts: CutSet) -> None:
    base = BatchConfig(max_duration=20, num_buckets=3, workers=0, spec_augment=PLAIN)
    orders = {
        tuple(id for batch in training_batches(cuts, replace(base, seed=seed), epoch) for id in batch.ids)
        for seed, epoch in [(0, 0), (0, 1), (0, 2), (7, 0)]
    }
    assert len(orders) == 4


def test_seed_and_epoch_are_not_interchangeable(cuts: CutSet) -> None:
    """Epoch 1 of seed 0 must not be epoch 0 of seed 1, or runs with several seeds would be the same runs."""
    base = BatchConfig(max_duration=20, num_buckets=3, workers=0, spec_augment=PLAIN)
    one, other = (
        [batch.ids for batch in training_batches(cuts, replace(base, seed=seed), epoch)]
        for seed, epoch in [(0, 1), (1, 0)]
    )
    assert one != other


def test_batches_are_sorted_padded_and_complete(cuts: CutSet) -> None:
    by_id = {cut.id: cut for cut in cuts}
    for batch in training_batches(cuts, BatchConfig(workers=0, spec_augment=PLAIN), epoch=5):
        lengths = batch.lengths.tolist()
        assert batch.features.dtype == torch.float32
        assert batch.lengths.dtype == torch.int64
        assert lengths == sorted(lengths, reverse=True)
        assert batch.features.shape == (len(batch.ids), lengths[0], 80)
        for id, text, length, matrix in zip(batch.ids, batch.texts, lengths, batch.features, strict=True):
            np.testing.assert_array_equal(matrix[:length], by_id[id].load_features())
            assert text == by_id[id].supervisions[0].text
            assert not matrix[length:].any()


def test_buckets_save_padding_and_durations_are_kept(cuts: CutSet) -> None:
    config = BatchConfig(max_duration=12, num_buckets=4, workers=0, spec_augment=PLAIN)
    batches = list(training_batches(cuts, config, 0))
    assert all(len(batch.ids) == 1 or batch.lengths.sum() <= 1250 for batch in batches)


def test_evaluation_has_every_cut_once_without_augmentation(cuts: CutSet) -> None:
    batches = list(evaluation_batches(cuts, max_duration=20))
    assert sorted(id for batch in batches for id in batch.ids) == sorted(cut.id for cut in cuts)
    lengths = [int(length) for batch in batches for length in batch.lengths]
    assert lengths == sorted(lengths, reverse=True)
    by_id = {cut.id: cut for cut in cuts}
    first = batches[0]
    np.testing.assert_array_equal(first.features[0, : first.lengths[0]], by_id[first.ids[0]].load_features())


@given(
    frames=st.integers(1, 300),
    bins=st.integers(1, 80),
    seed=st.integers(0, 99),
    config=configs.map(lambda config: config.spec_augment),
)
def test_spec_augment_keeps_shape_and_limits_of_masks(
    frames: int, bins: int, seed: int, config: SpecAugmentConfig
) -> None:
    config = replace(config, time_warp=0.0, probability=1.0)
    original = torch.randn(frames, bins, generator=torch.Generator().manual_seed(seed))
    with random_state(seed):
        masked = augment(original, config, 0.01)
    assert masked.shape == original.shape
    hidden = masked != original
    whole_frames = hidden.all(dim=1)
    bands = hidden[~whole_frames].all(dim=0) if (~whole_frames).any() else torch.zeros(bins)
    assert bands.sum() <= config.frequency_masks * config.frequency_mask_bins
    if bands.sum() < bins:
        assert whole_frames.sum() <= config.time_mask_fraction * frames
    if config.time_masks == 0 and bands.sum() < bins:
        assert not whole_frames.any()


def test_spec_augment_masks_features(cuts: CutSet) -> None:
    config = BatchConfig(workers=0, max_duration=1000, num_buckets=1)
    (masked,) = training_batches(cuts, config, 0)
    (plain,) = training_batches(cuts, replace(config, spec_augment=PLAIN), 0)
    (again,) = training_batches(cuts, config, 1)
    assert (masked.features != plain.features).any(2).any(1).sum() > 20
    assert not torch.equal(masked.features[0], again.features[again.ids.index(masked.ids[0])])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: BatchConfig(max_duration=0), "batches.max_duration is 0"),
        (lambda: BatchConfig(num_buckets=0), "batches.num_buckets is 0"),
        (lambda: BatchConfig(workers=-1), "batches.workers is -1"),
        (lambda: SpecAugmentConfig(probability=1.5), "spec_augment.probability is 1.5"),
        (lambda: SpecAugmentConfig(time_masks=-1), "spec_augment.time_masks is -1"),
        (lambda: SpecAugmentConfig(time_mask=0.0), "spec_augment.time_mask is 0.0"),
    ],
)
def test_wrong_options_are_named(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        wrong()


def demand_source(self: object, data_source: object) -> None:
    """The constructor of torch's Sampler until release 2.1."""


def refuse_source(self: object) -> None:
    """The constructor of torch's Sampler today."""


@pytest.mark.parametrize("constructor", [demand_source, refuse_source])
@pytest.mark.parametrize("num_buckets", [1, 2])
def test_batches_are_made_whether_or_not_the_sampler_of_torch_takes_a_data_source(
    constructor: Callable[..., None], num_buckets: int, cuts: CutSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.utils.data.Sampler, "__init__", constructor)
    expected = sorted(cut.id for cut in cuts)
    trained = training_batches(cuts, BatchConfig(num_buckets=num_buckets, workers=0), epoch=0)
    assert sorted(name for batch in trained for name in batch.ids) == expected
    assert sorted(name for batch in evaluation_batches(cuts, 60.0) for name in batch.ids) == expected
