"""Total scores against enumeration, finite differences, torch's CTC and k2's intersection."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from augmem.automata import NumeratorCompiler, PhoneLm, denominator_fsa, estimate_phone_lm, k2_score
from augmem.graph import (
    TOPOLOGIES,
    Denominator,
    DenseGraph,
    FrameGraph,
    SparseGraph,
    graphs_score,
    num_outputs,
    stack_graphs,
)
from tests.automata.brute_force import total_score, unit_sequences
from tests.automata.compiled import compile_denominator, compile_numerators
from tests.automata.toy_lang import ToyLang

LEXICON = {"tar": ["T A", "A T A"], "at": ["A T"], "a": ["A"]}
TEXTS = ["tar", "a at", "at", "", "a a"]


@pytest.fixture(scope="module")
def lang() -> ToyLang:
    return ToyLang(LEXICON)


@pytest.fixture(scope="module")
def phone_lm(lang: ToyLang) -> PhoneLm:
    data = [[1, 3, 2, 1], [2, 3, 2], [2, 2, 3], [1, 3, 2, 2, 3], [2]]
    return estimate_phone_lm(data, lang.unit_ids, 3, 3)


def random_log_probs(*shape: int, peaked: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (peaked * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


# Plain, and in context: T after A, A after silence, T at the beginning.
IN_CONTEXT = [*((name, ()) for name in TOPOLOGIES), *((name, ((2, 3), (1, 2), (0, 3))) for name in ("ctc", "chain"))]


@pytest.mark.parametrize(("name", "biphones"), IN_CONTEXT)
def test_numerator_sums_over_all_unit_sequences(name: str, biphones: tuple, lang: ToyLang, phone_lm: PhoneLm) -> None:
    T = 4 if name == "chain" else 5
    log_probs = random_log_probs(len(TEXTS), T, num_outputs(name, lang.num_units, biphones))
    lengths = torch.tensor([T, T, T - 2, T, T - 1])
    plain = graphs_score(log_probs, lengths, compile_numerators(lang, name, TEXTS, biphones=biphones))
    numerators = compile_numerators(lang, name, TEXTS, phone_lm.acceptor(), biphones)
    weighted = graphs_score(log_probs, lengths, numerators)
    for row, text in enumerate(TEXTS):
        allowed = set(unit_sequences([lang.pronunciations[word] for word in text.split()], lang.tokens["SIL"]))
        frames = log_probs[row, : lengths[row]]
        expected = total_score(frames, name, lang.num_units, lambda u: float(u in allowed), False, biphones)  # noqa: B023
        assert plain[row].item() == pytest.approx(expected, abs=1e-5)
        likely = {units: prior(phone_lm, units) for units in allowed}
        expected = total_score(frames, name, lang.num_units, lambda u: likely.get(u, 0.0), False, biphones)  # noqa: B023
        assert weighted[row].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("name", "biphones"), IN_CONTEXT)
def test_denominator_sums_over_all_unit_sequences(name: str, biphones: tuple, lang: ToyLang, phone_lm: PhoneLm) -> None:
    T = 4 if name == "chain" else 5
    log_probs = random_log_probs(2, T, num_outputs(name, lang.num_units, biphones))
    lengths = torch.tensor([T - 1, T])
    scores, sparse = (
        compile_denominator(phone_lm.acceptor(), name, lang.num_units, biphones, states)(log_probs, lengths)
        for states in (2000, 0)
    )
    for row, length in enumerate(lengths):
        frames = log_probs[row, :length]
        expected = total_score(frames, name, lang.num_units, lambda u: prior(phone_lm, u), False, biphones)
        assert scores[row].item() == pytest.approx(expected, abs=1e-5)
        assert sparse[row].item() == pytest.approx(expected, abs=1e-5)


def prior(phone_lm: PhoneLm, units: tuple[int, ...]) -> float:
    return math.exp(phone_lm.log_probability(units))


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_gradients_equal_finite_differences(name: str, lang: ToyLang, phone_lm: PhoneLm) -> None:
    # Scores need not be normalised: gradcheck moves one at a time.
    log_probs = random_log_probs(3, 6, num_outputs(name, lang.num_units)).requires_grad_()
    lengths = torch.tensor([4, 6, 5])
    graphs = compile_numerators(lang, name, TEXTS[:3], phone_lm.acceptor())
    assert torch.autograd.gradcheck(lambda x: graphs_score(x, lengths, graphs), log_probs)
    for states in (2000, 0):
        denominator = compile_denominator(phone_lm.acceptor(), name, lang.num_units, max_states=states)
        assert torch.autograd.gradcheck(lambda x: denominator(x, lengths), log_probs)  # noqa: B023


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_denominator_and_gradients_equal_those_of_k2(name: str, order: int, lang: ToyLang) -> None:
    units, generator = 12, torch.Generator().manual_seed(7)
    data = [torch.randint(1, units, (15,), generator=generator).tolist() for _ in range(20)]
    phone_lm = estimate_phone_lm(data, range(1, units), order, 20).acceptor()
    denominator = compile_denominator(phone_lm, name, units)
    lengths = torch.tensor([13, 25, 1, 18])
    ours = random_log_probs(4, 25, num_outputs(name, units)).float().requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    scores, expected = (
        denominator(ours, lengths),
        k2_score(theirs, lengths, denominator_fsa(phone_lm, name, units), beam=60.0),
    )
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (scores * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_sparse_scores_and_gradients_equal_those_of_the_dense_matrix_and_of_k2(name: str, lang: ToyLang) -> None:
    units, generator = 12, torch.Generator().manual_seed(8)
    data = [torch.randint(1, units, (15,), generator=generator).tolist() for _ in range(20)]
    phone_lm = estimate_phone_lm(data, range(1, units), 3, 20).acceptor()
    sparse, dense = (compile_denominator(phone_lm, name, units, max_states=states) for states in (0, 2000))
    assert isinstance(sparse.graph, SparseGraph) and isinstance(dense.graph, DenseGraph)
    fsa = denominator_fsa(phone_lm, name, units)
    lengths, weights = torch.tensor([13, 25, 0, 18, 1]), torch.tensor([1.0, -2.0, 0.0, 3.0, 0.5])
    log_probs = random_log_probs(5, 25, num_outputs(name, units))
    log_probs[3, 18:] = math.nan  # padding
    scores, gradients = [], []
    for total in (sparse, dense, lambda x, n: k2_score(x, n, fsa, beam=60.0)):
        leaf = log_probs.clone().requires_grad_()
        score = total(leaf, lengths)
        (score[weights != 0] * weights[weights != 0]).sum().backward()
        scores.append(score.detach())
        gradients.append(leaf.grad)
    assert scores[0].isinf().tolist() == [False, False, True, False, False]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-10, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-10, rtol=0)
    torch.testing.assert_close(scores[0], scores[2], atol=1e-3, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[2], atol=1e-3, rtol=0)


def test_numerators_and_gradients_equal_those_of_k2(lang: ToyLang, phone_lm: PhoneLm) -> None:
    compiler = NumeratorCompiler(lang, "ctc", phone_lm.acceptor())
    texts = ["tar at a a tar", "a", "tar tar tar at at", "at a"]
    lengths = torch.tensor([20, 5, 30, 30])
    ours = random_log_probs(4, 30, lang.num_units).float().requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    scores = graphs_score(ours, lengths, stack_graphs(compiler.compile(texts)))
    expected = k2_score(theirs, lengths, compiler.fsas(texts), beam=60.0)
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)
    scores.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-3, rtol=0)


def test_scores_do_not_depend_on_order_batch_or_padding(lang: ToyLang, phone_lm: PhoneLm) -> None:
    compiler = NumeratorCompiler(lang, "ctc", phone_lm.acceptor())
    denominator = compile_denominator(phone_lm.acceptor(), "ctc", lang.num_units)
    lengths = torch.tensor([9, 4, 12])
    log_probs = random_log_probs(3, 12, lang.num_units)
    for row, length in enumerate(lengths.tolist()):
        log_probs[row, length:] = math.nan
    together = log_probs.clone().requires_grad_()
    scores = graphs_score(together, lengths, stack_graphs(compiler.compile(TEXTS[:3]))) - denominator(together, lengths)
    scores.sum().backward()
    for row, length in enumerate(lengths.tolist()):
        alone = log_probs[row : row + 1, :length].clone().requires_grad_()
        frames = lengths[row : row + 1]
        score = graphs_score(alone, frames, stack_graphs(compiler.compile([TEXTS[row]]))) - denominator(alone, frames)
        score.sum().backward()
        torch.testing.assert_close(scores[row], score[0])
        torch.testing.assert_close(together.grad[row, :length], alone.grad[0])
        assert not together.grad[row, length:].any()


@pytest.mark.parametrize("frames", [1, 3, 5, 11, 22])
def test_scores_do_not_depend_on_the_length_of_blocks(
    frames: int, monkeypatch: pytest.MonkeyPatch, lang: ToyLang, phone_lm: PhoneLm
) -> None:
    """Utterances that end in, before and at the end of blocks, one without frames, one too short, padding of NaN."""
    graphs = compile_numerators(lang, "ctc", [*TEXTS, "tar tar"], phone_lm.acceptor())
    lengths = torch.tensor([23, 22, 11, 1, 0, 3])
    log_probs = random_log_probs(6, 23, lang.num_units)
    log_probs[torch.arange(23) >= lengths[:, None]] = math.nan

    def compute() -> tuple[Tensor, Tensor]:
        leaf = log_probs.clone().requires_grad_()
        scores = graphs_score(leaf, lengths, graphs)
        scores[scores.isfinite()].sum().backward()
        return scores.detach(), leaf.grad

    whole = compute()
    monkeypatch.setattr("augmem.graph.total_score.BLOCK", frames * len(graphs.labels))
    torch.testing.assert_close(compute(), whole, atol=1e-12, rtol=0)
    assert whole[0].isfinite().sum() == 4 and whole[1].isfinite().all()


@pytest.mark.parametrize("frames", [2, 6, 22])
def test_scores_of_a_dense_matrix_do_not_depend_on_the_length_of_blocks(
    frames: int, monkeypatch: pytest.MonkeyPatch, lang: ToyLang, phone_lm: PhoneLm
) -> None:
    """As above; the sparse matrix, frame by frame, is the independent value."""
    dense, sparse = (compile_denominator(phone_lm.acceptor(), "hmm", lang.num_units, (), n) for n in (2000, 0))
    lengths = torch.tensor([23, 22, 11, 1, 0, 6])
    log_probs = random_log_probs(6, 23, num_outputs("hmm", lang.num_units), peaked=9.0)
    log_probs[torch.arange(23) >= lengths[:, None]] = math.nan

    def compute(denominator: Denominator) -> tuple[Tensor, Tensor]:
        leaf = log_probs.clone().requires_grad_()
        scores = denominator(leaf, lengths)
        scores[scores.isfinite()].sum().backward()
        return scores.detach(), leaf.grad

    assert isinstance(dense.graph, DenseGraph)
    monkeypatch.setattr("augmem.graph.dense.BLOCK", frames * len(lengths) * len(dense.graph.labels))
    torch.testing.assert_close(compute(dense), compute(sparse), atol=1e-10, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest tensor that an operation returns."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.size = max(self.size, *(x.numel() for x in tree_flatten(result)[0] if isinstance(x, Tensor)), 0)
        return result


def test_memory_is_linear_in_the_length(monkeypatch: pytest.MonkeyPatch, lang: ToyLang) -> None:
    monkeypatch.setattr("augmem.graph.total_score.BLOCK", 1000)
    sizes = []
    for repetitions in (5, 20):
        graphs = compile_numerators(lang, "ctc", [" ".join(["tar at"] * repetitions)])
        log_probs = random_log_probs(1, 12 * repetitions, lang.num_units)
        with LargestTensor() as largest:
            graphs_score(log_probs, torch.tensor([12 * repetitions]), graphs)
        sizes.append(largest.size)
    assert max(sizes) < 4 * 1000 < log_probs.shape[1] * len(graphs.labels) / 4


def test_memory_of_a_dense_matrix_grows_with_outputs_only(
    monkeypatch: pytest.MonkeyPatch, lang: ToyLang, phone_lm: PhoneLm
) -> None:
    """Ten minutes are 15,000 frames of 40 ms; here each block has a hundredth of them."""
    denominator = compile_denominator(phone_lm.acceptor(), "ctc", lang.num_units)
    states = len(denominator.graph.labels)
    monkeypatch.setattr("augmem.graph.dense.BLOCK", 20 * states)
    log_probs = random_log_probs(1, 2000, lang.num_units)
    with LargestTensor() as largest:
        denominator(log_probs, torch.tensor([2000]))
    assert largest.size <= max(4 * 20 * states, log_probs.numel()) < 2000 * states / 2


def test_rows_without_a_path_are_minus_infinity_without_gradient(lang: ToyLang) -> None:
    graphs = compile_numerators(lang, "ctc", ["tar tar", "tar", "a", "a"])
    log_probs = random_log_probs(4, 5, lang.num_units).requires_grad_()
    scores = graphs_score(log_probs, torch.tensor([3, 5, 0, 1]), graphs)
    assert torch.isinf(scores).tolist() == [True, False, True, False]
    scores[[1, 3]].sum().backward()
    assert not log_probs.grad[[0, 2]].any()
    assert torch.isfinite(log_probs.grad).all()


def test_outputs_of_probability_zero_are_allowed(lang: ToyLang, phone_lm: PhoneLm) -> None:
    log_probs = random_log_probs(1, 6, lang.num_units)
    log_probs[0, 2, 1] = -math.inf
    log_probs.requires_grad_()
    lengths = torch.tensor([6])
    score = graphs_score(log_probs, lengths, compile_numerators(lang, "ctc", ["a"]))
    (score + compile_denominator(phone_lm.acceptor(), "ctc", lang.num_units)(log_probs, lengths)).sum().backward()
    torch.testing.assert_close(log_probs.grad.sum(2), torch.full((1, 6), 2.0, dtype=torch.float64))
    assert log_probs.grad[0, 2, 1] == 0


def test_nan_propagates(lang: ToyLang, phone_lm: PhoneLm) -> None:
    log_probs = torch.full((1, 4, lang.num_units), math.nan)
    lengths = torch.tensor([4])
    assert graphs_score(log_probs, lengths, compile_numerators(lang, "ctc", ["a"])).isnan()
    for states in (2000, 0):
        denominator = compile_denominator(phone_lm.acceptor(), "ctc", lang.num_units, max_states=states)
        assert denominator(log_probs, lengths).isnan()


def test_very_peaked_scores_do_not_underflow(lang: ToyLang, phone_lm: PhoneLm) -> None:
    """The model is confident in another text: the score of the numerator is thousands of nats lower, but exact."""
    log_probs = (200 * random_log_probs(1, 60, lang.num_units)).requires_grad_()
    lengths = torch.tensor([60])
    score = graphs_score(log_probs, lengths, compile_numerators(lang, "ctc", ["tar"]))
    best = min(log_probs.detach().max(2).values.sum().item(), -1000)
    assert score.item() < best
    score.backward()
    torch.testing.assert_close(log_probs.grad.sum(2), torch.ones(1, 60, dtype=torch.float64))


@pytest.mark.parametrize("peaked", [1.0, 20.0, 300.0])
def test_transcripts_that_do_not_fit_the_audio_have_exact_scores(peaked: float) -> None:
    """Against torch's CTC; where probabilities would underflow, the sums are computed in the log domain."""
    lang = ToyLang({letter: [letter] for letter in "abcde"}, silence=None)
    log_probs = random_log_probs(3, 70, 6, peaked=peaked)
    ours, theirs = (log_probs.clone().requires_grad_() for _ in range(2))
    words, lengths = ["abcde" * 6, "edcba" * 4, "aabb" * 3], torch.tensor([70, 60, 70])
    scores = graphs_score(ours, lengths, compile_numerators(lang, "ctc", [" ".join(word) for word in words]))
    targets = torch.tensor([lang.tokens[letter] for word in words for letter in word])
    sizes = torch.tensor([len(word) for word in words])
    losses = torch.nn.functional.ctc_loss(theirs.transpose(0, 1), targets, lengths, sizes, reduction="none")
    torch.testing.assert_close(scores, -losses, rtol=1e-9, atol=0)
    scores.sum().backward()
    losses.sum().backward()
    # torch's gradient is that of the inputs of log_softmax
    expected = log_probs.exp() * ours.grad.sum(2, keepdim=True) - ours.grad
    torch.testing.assert_close(theirs.grad, expected, rtol=0, atol=1e-6)


def test_mismatched_shapes_are_refused(lang: ToyLang) -> None:
    graphs = compile_numerators(lang, "ctc", ["a"])
    with pytest.raises(ValueError, match=r"lengths \(2,\) \(B,\), B = 1"):
        graphs_score(torch.zeros(1, 3, 4), torch.tensor([3, 3]), graphs)
    with pytest.raises(ValueError, match="must lie between 0 and T = 3"):
        graphs_score(torch.zeros(1, 3, 4), torch.tensor([4]), graphs)
    with pytest.raises(ValueError, match="the model has 2"):
        graphs_score(torch.zeros(1, 3, 2), torch.tensor([3]), graphs)


def test_parallel_and_diverging_arcs_add_up(lang: ToyLang) -> None:
    """The same little graph as a batch of one, as a matrix, and by hand."""
    graph = FrameGraph(
        labels=torch.tensor([0, 1]),
        initial=torch.tensor([0.5, 0.25]).log(),
        final=torch.tensor([1.0, 0.5]).log(),
        sources=torch.tensor([0, 0, 1]),
        targets=torch.tensor([1, 1, 1]),
        scores=torch.tensor([0.25, 0.25, 0.75]).log(),
    )
    log_probs, lengths = torch.tensor([[[0.3, 0.7], [0.6, 0.4]]]).log(), torch.tensor([2])
    expected = math.log((0.5 * 0.3 * 0.5 + 0.25 * 0.7 * 0.75) * 0.4 * 0.5)
    assert graphs_score(log_probs, lengths, stack_graphs([graph])).item() == pytest.approx(expected)
    assert DenseGraph(graph).score(log_probs, lengths).item() == pytest.approx(expected)
