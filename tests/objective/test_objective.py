"""Objectives: CTC against torch's, LF-MMI's bounds, masks and the hand-over."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, ctc_loss

from augmem.automata import NumeratorCompiler, estimate_phone_lm
from augmem.graph import TOPOLOGIES, FrameGraphs, graphs_score, num_outputs, stack_graphs
from augmem.objective import LatticeFreeMmi, Scores, cross_entropy_scores, ctc_scores, occupancy
from tests.automata.compiled import compile_denominator, compile_numerators
from tests.automata.toy_lang import ToyLang

LETTERS = ToyLang({letter: [letter] for letter in "abcde"}, silence=None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abcde", min_size=1, max_size=9), min_size=1, max_size=5), st.integers(0, 99))
def test_ctc_equals_that_of_torch(words: list[str], seed: int) -> None:
    """One pronunciation a word and no silence make plain CTC; torch's infinite losses are impossible rows."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 20, (len(words),), generator=generator)
    ours = torch.randn(len(words), 20, 6, generator=generator, dtype=torch.float64).log_softmax(2)
    theirs = ours.clone().requires_grad_()
    scores = ctc_scores(
        ours.requires_grad_(), lengths, compile_numerators(LETTERS, "ctc", [" ".join(word) for word in words])
    )
    targets = torch.tensor([LETTERS.tokens[letter] for word in words for letter in word])
    sizes = torch.tensor([len(word) for word in words])
    losses = ctc_loss(theirs.transpose(0, 1), targets, lengths, sizes, reduction="none")
    assert torch.equal(scores.valid, torch.isfinite(losses))
    torch.testing.assert_close(scores.numerator, -losses)
    scores.loss().backward()
    torch.where(scores.valid, losses, torch.zeros_like(losses)).sum().backward()
    torch.testing.assert_close(project(ours), project(theirs, scores.valid), atol=1e-8, rtol=1e-6)


def project(log_probs: Tensor, valid: Tensor | None = None) -> Tensor:
    """Gradient with respect to the input of log_softmax, which does not depend on a constant added to the scores."""
    gradient = log_probs.grad
    if valid is not None:  # torch's gradient of an infinite loss is NaN
        gradient = torch.where(valid[:, None, None], gradient, torch.zeros_like(gradient))
    return gradient - log_probs.detach().exp() * gradient.sum(2, keepdim=True)


BIPHONES = {"ctc in context": ((1, 2), (2, 3)), "chain in context": ((1, 2), (2, 3))}


class Toy(NamedTuple):
    """LF-MMI over three words.

    Args:
        topology: name of H.
        numerators: compiler of the transcripts.
        objective: objective with the denominator.
        outputs: number of outputs of the model.
    """

    topology: str
    numerators: NumeratorCompiler
    objective: LatticeFreeMmi
    outputs: int

    def __call__(self, log_probs: Tensor, lengths: Tensor, texts: list[str]) -> Scores:
        return self.objective(log_probs, lengths, self.graphs(texts))

    def graphs(self, texts: list[str]) -> FrameGraphs:
        return stack_graphs(self.numerators.compile(texts))


@pytest.fixture(scope="module", params=[*TOPOLOGIES, *BIPHONES])
def mmi(request: pytest.FixtureRequest) -> Toy:
    lang = ToyLang({"tar": ["T A", "A T A"], "at": ["A T"], "a": ["A"]})
    phone_lm = estimate_phone_lm([[1, 3, 2], [2, 3, 1], [2, 2]], lang.unit_ids, 3, 5).acceptor()
    name, biphones = request.param.split()[0], BIPHONES.get(request.param, ())
    numerators = NumeratorCompiler(lang, name, phone_lm, biphones=biphones)
    objective = LatticeFreeMmi(compile_denominator(phone_lm, name, lang.num_units, biphones))
    return Toy(name, numerators, objective, num_outputs(name, lang.num_units, biphones))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), scale=st.sampled_from([0.1, 3.0, 30.0]))
def test_numerator_never_exceeds_denominator(mmi: Toy, seed: int, scale: float) -> None:
    scores = mmi(*random_batch(mmi, seed, scale), ["tar a", "at", "a a at"])
    assert bool((scores.numerator <= scores.denominator + 1e-4)[scores.valid].all())
    assert scores.valid.tolist() == [True, True, True]


def random_batch(mmi: Toy, seed: int, scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(3, 12, mmi.outputs, generator=generator)
    return logits.log_softmax(2), torch.tensor([12, 8, 10])


def test_gradient_ascent_raises_the_posterior_of_the_transcript_to_one(mmi: Toy) -> None:
    log_probs, lengths = random_batch(mmi, 1, 1.0)
    logits = log_probs.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = mmi.objective.loss(mmi(logits.log_softmax(2), lengths, ["tar a", "at", "a a at"]))
        loss.backward()
        optimiser.step()
    # In these topologies a long unit is always also several short equal ones.
    ambiguous = mmi.topology in ("modified_ctc", "hmm")
    assert 0 <= loss.item() < (4 if ambiguous else 0.5)


def test_boosting_adds_one_minus_the_posterior_to_the_denominator(mmi: Toy) -> None:
    """The posteriors are computed by finite differences of the numerator; they have no gradient."""
    texts, boost = ["at"], 0.7
    log_probs, _ = random_batch(mmi, 4, 1.0)
    log_probs, lengths = log_probs[:1, :7].double(), torch.tensor([6])
    graphs = mmi.graphs(texts)
    posterior = torch.zeros_like(log_probs)
    for place in range(log_probs.numel()):
        step = torch.zeros(log_probs.numel(), dtype=torch.float64)
        step[place] = 1e-5
        above, below = (graphs_score(log_probs + s * step.view_as(log_probs), lengths, graphs) for s in (1, -1))
        posterior.view(-1)[place] = (above - below) / 2e-5
    boosted = LatticeFreeMmi(mmi.objective.denominator, boost=boost)
    mine, theirs = log_probs.clone().requires_grad_(), log_probs.clone().requires_grad_()
    scores = boosted(mine, lengths, graphs)
    expected = mmi.objective.denominator(theirs + boost * (1 - posterior), lengths)
    assert scores.denominator.item() == pytest.approx(expected.item(), abs=1e-4)
    assert scores.denominator > mmi(log_probs, lengths, texts).denominator >= scores.numerator
    scores.denominator.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        assert boosted(log_probs, lengths, graphs).denominator.item() == pytest.approx(expected.item(), abs=1e-4)


def test_occupancy_equals_the_probability_lost_without_an_output(mmi: Toy) -> None:
    """The paths through an output in a frame are those that vanish when it is forbidden there."""
    log_probs, lengths = random_batch(mmi, 5, 2.0)
    log_probs = log_probs[1:2].double()
    whole = mmi.objective.denominator(log_probs, lengths[1:2])
    shares = occupancy(lambda scores: mmi.objective.denominator(scores, lengths[1:2]), log_probs)
    torch.testing.assert_close(shares.sum(2)[0], (torch.arange(12) < 8).double())
    for output in range(log_probs.size(2)):
        without = log_probs.clone()
        without[0, 3, output] = -1e4
        lost = -math.expm1(mmi.objective.denominator(without, lengths[1:2]).item() - whole.item())
        assert shares[0, 3, output].item() == pytest.approx(lost, abs=1e-8)


def test_cross_entropy_equals_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 6, 5, generator=generator)
    labels = [[1, 2, 3, 0], None, [1, 1]]
    lengths = torch.tensor([4, 5, 3])
    scores = cross_entropy_scores(logits.log_softmax(2), lengths, labels)
    assert scores.valid.tolist() == [True, False, False], "no alignment, or one of another length"
    torch.testing.assert_close(scores.loss(), cross_entropy(logits[0, :4], torch.tensor(labels[0]), reduction="sum"))


def test_a_batch_without_alignments_has_zero_loss_and_gradient() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    scores = cross_entropy_scores(logits.log_softmax(2), torch.tensor([4, 3]), [None, [1, 1]])
    scores.loss().backward()
    assert scores.loss().item() == 0 and logits.grad is not None and not logits.grad.any()


def test_impossible_targets_are_masked_and_have_no_gradient(mmi: Toy) -> None:
    log_probs, lengths = random_batch(mmi, 2, 1.0)
    log_probs.requires_grad_()
    lengths[1] = 1
    scores = mmi(log_probs, lengths, ["tar a", "at", "a a at"])
    assert scores.valid.tolist() == [True, False, True]
    loss = mmi.objective.loss(scores)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(log_probs.grad).all()
    assert not log_probs.grad[1].any()


def test_nan_reaches_the_loss(mmi: Toy) -> None:
    log_probs, lengths = random_batch(mmi, 3, 1.0)
    log_probs[0, 3] = math.nan
    assert mmi.objective.loss(mmi(log_probs, lengths, ["tar a", "at", "a a at"])).isnan()
