"""Output layer and objective in slices of a batch equal those of the whole batch, values and gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from augmem.errors import UserError
from augmem.training.objective import BatchLoss
from augmem.training.sliced import SlicedObjective, make_batch_objective
from tests.tiny import TEXTS, make_lang_and_graphs
from tests.training.test_trainer import steps, trainer

LENGTHS = torch.tensor([200, 61, 4, 150])  # the third is too short for its transcript


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_lang_and_graphs(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("slices", [2, 3, 9])
@pytest.mark.parametrize("ctc_weight", [1.0, 0.3])
def test_slices_equal_the_whole(slices: int, ctc_weight: float, folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path, boost=0.2, iterated_loss_layers=(1,), dropout=0.0)
    model = run.model.double()
    features = torch.randn(4, 200, 20, generator=torch.Generator().manual_seed(1)).double()
    results: list[tuple[BatchLoss, list[torch.Tensor]]] = []
    for whole in (True, False):
        levels, lengths, _ = (model.forward_levels if whole else model.encode_levels)(features, LENGTHS)
        objective = run.objective if whole else SlicedObjective(run.objective, model, slices, "float32")
        result = objective(levels, lengths, TEXTS, ctc_weight, list("abcd"))
        model.zero_grad()
        (3 * result.loss).backward()
        results.append((result, [parameter.grad for parameter in model.parameters()]))
    (one, expected), (other, found) = results
    assert one.valid.tolist() == other.valid.tolist() == [True, True, False, True]
    assert vars(other.stats).keys() == vars(one.stats).keys()
    for name, value in vars(one.stats).items():
        assert getattr(other.stats, name) == pytest.approx(value, rel=1e-9), name
    for parameter, gradient in zip(expected, found, strict=True):
        torch.testing.assert_close(gradient, parameter, rtol=1e-9, atol=1e-9)
    assert any(gradient.any() for gradient in found)


def test_training_in_slices_has_the_same_losses(folders: tuple[Path, Path], tmp_path: Path) -> None:
    losses = []
    for slices in (1, 2):
        assert trainer(folders, tmp_path / str(slices), objective_slices=slices, epochs=2).run()
        losses.append([line["loss"] for line in steps(tmp_path / str(slices))])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_gradients_reach_the_reduction_of_processes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Also those of a process without a batch, which are zero."""
    run = trainer(folders, tmp_path / "run", objective_slices=2, dropout=0.0)
    features, expected = torch.randn(4, 200, 20), None
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for network in (run.network, DistributedDataParallel(run.network)):
            run.model.zero_grad()
            levels, lengths, _ = network(features, LENGTHS)
            run.batch_objective(levels, lengths, TEXTS, 0.5, list("abcd")).loss.backward()
            found = [parameter.grad.clone() for parameter in run.model.parameters()]
            torch.testing.assert_close(found, expected or found, rtol=0, atol=1e-5)
            expected = found
        run.network = network
        run.model.zero_grad()
        run._backward_zero()
        assert not any(parameter.grad.any() for parameter in run.model.parameters())
    finally:
        distributed.destroy_process_group()


def test_processes_that_drop_layers_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = trainer(folders, tmp_path, layer_drop=0.1)
    config = replace(run.config, objective_slices=2)
    assert isinstance(make_batch_objective(run.model, run.objective, config, 1), SlicedObjective)
    with pytest.raises(UserError, match=r"training\.objective_slices is 2: it must be 1 where several processes"):
        make_batch_objective(run.model, run.objective, config, 2)
