"""Self tests of `augmem doctor`: each runs a task on tiny data and returns what it has seen, or raises.

Packages are imported inside the tests, because a missing one is a finding.
"""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from augmem.corpus import Batch
    from augmem.model import AcousticModel

RATE = 16000


def noise(seconds: float) -> np.ndarray:
    """Return white noise, float32."""
    import numpy as np

    return np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * RATE)).astype(np.float32)


def tiny_model(num_units: int = 5, units_hash: str = "", **features: Any) -> AcousticModel:
    """Return an untrained model for 20 mel bins."""
    import torch

    from augmem.encoder import EncoderConfig
    from augmem.model import AcousticModel, ModelDescription

    torch.manual_seed(0)
    encoder = EncoderConfig(
        dim=16, heads=2, feedforward_dim=32, layers=1, frontend_channels=(2, 3),
        left_context=0.16, centre=0.32, right_context=0.08,
    )  # fmt: skip
    description = ModelDescription(
        encoder, feature_dim=20, frame_shift=0.01, num_units=num_units, units_hash=units_hash, features=features
    )
    return AcousticModel(description, torch.zeros(20), torch.ones(20))


def tiny_batch() -> Batch:
    """Return a batch of two utterances of a second of noise, made by Lhotse from audio files."""
    import soundfile
    from lhotse import CutSet, Fbank, FbankConfig, MonoCut, Recording, SupervisionSegment
    from lhotse.features.io import MemoryRawWriter

    from augmem.corpus import BatchConfig, training_batches

    with TemporaryDirectory() as folder:
        cuts = []
        for name in ("a", "b"):
            path = Path(folder) / f"{name}.flac"
            soundfile.write(path, noise(1.0), RATE)
            text = [SupervisionSegment(name, name, 0.0, 1.0, text="TWO WORDS")]
            cut = MonoCut(name, 0.0, 1.0, 0, supervisions=text, recording=Recording.from_file(path))
            cuts.append(cut.compute_and_store_features(Fbank(FbankConfig(num_mel_bins=20)), MemoryRawWriter()))
        return next(training_batches(CutSet.from_cuts(cuts), BatchConfig(workers=0, num_buckets=1), epoch=0))


def train_step() -> str:
    """Train one step on a tiny batch, on the GPU if there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, batch = tiny_model().to(device).train(), tiny_batch()
    log_probs, lengths = model(batch.features.to(device), batch.lengths.to(device))
    targets, sizes = torch.tensor([[1, 2], [3, 4]], device=device), torch.tensor([2, 2], device=device)
    loss = torch.nn.functional.ctc_loss(log_probs.transpose(0, 1), targets, lengths, sizes)
    loss.backward()
    torch.optim.Adam(model.parameters()).step()
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise ArithmeticError(f"weights are not finite after a step with loss {loss.item():.3f}")
    return f"a batch was made and trained on {device}"


def kaldifeat_features() -> str:
    """Compare the features of kaldifeat with those of Lhotse."""
    import numpy as np

    from augmem.corpus import extract_batch
    from augmem.features import FeatureConfig

    signal = noise(1.0)[None]
    ours, theirs = (extract_batch(FeatureConfig(extractor=name), [signal])[0] for name in ("fbank", "kaldifeat"))
    if (difference := float(np.abs(ours - theirs).max())) > 1.5e-3:
        raise ArithmeticError(f"features differ from those of Lhotse by up to {difference:.4f}")
    return f"features differ from those of Lhotse by {difference:.1e} at most"


def k2_scores() -> str:
    """Compare the CTC score of k2 with the CTC loss of torch."""
    import k2
    import torch

    log_probs = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    graph = k2.ctc_graph([[1, 2]])
    dense = k2.DenseFsaVec(log_probs, torch.tensor([[0, 0, 20]], dtype=torch.int32))
    score = k2.intersect_dense(graph, dense, output_beam=30.0).get_tot_scores(log_semiring=True, use_double_scores=True)
    loss = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([[1, 2]]),
        torch.tensor([20]),
        torch.tensor([2]),
        reduction="sum",
    )
    if not math.isclose(score.item(), -loss.item(), abs_tol=1e-3):
        raise ArithmeticError(f"CTC score {score.item():.4f} by k2, {-loss.item():.4f} by torch")
    return f"built {'with CUDA' if k2.with_cuda else 'for the CPU'}; CTC scores of k2 and torch are equal"


def decode_batch() -> str:
    """Decode a tiny batch with a graph of all unit sequences."""
    import k2
    import torch

    from augmem.decoding import DecodingConfig, DecodingGraph, best_path, find_lattices, path_word_ids

    batch = tiny_batch()
    with torch.no_grad():
        log_probs, lengths = tiny_model().eval()(batch.features, batch.lengths)
    graph = DecodingGraph(k2.ctc_topo(max_token=4))
    lattices = [found.lattice for found in find_lattices(log_probs, lengths, graph, DecodingConfig())]
    units = [path_word_ids(lattice, best_path(lattice)) for lattice in lattices]
    return f"{len(units)} utterances decoded"


def serve() -> str:
    """Start the server with a tiny package, stream a second of noise to it, and stop it."""
    import asyncio

    with TemporaryDirectory() as folder:
        kinds = asyncio.run(asyncio.wait_for(_stream_to_server(_tiny_package(Path(folder))), timeout=120))
    if "final" not in kinds:
        raise RuntimeError("the server returned no final result")
    return f"a server recognised a second of audio: {len(kinds)} events"


async def _stream_to_server(package: Path) -> list[str]:
    """Return the kinds of the events that a client receives."""
    import numpy as np

    from augmem.serving import RecognitionServer, ServerConfig, recognize

    recognition = RecognitionServer(package, ServerConfig(port=0))
    server = await recognition.start()
    try:
        address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return [event["kind"] async for event in recognize(address, np.split(noise(1.0), 10), RATE)]
    finally:
        await recognition.stop(server)


def _tiny_package(folder: Path) -> Path:
    """Package an untrained model, with a grammar of two words in any order."""
    from dataclasses import asdict

    from augmem.automata import prepare_decoding_graph
    from augmem.decoding import Scales
    from augmem.features import FeatureConfig
    from augmem.graph import HLG_FILE
    from augmem.lang import Lang, LangConfig, prepare_lang
    from augmem.streaming import PackageInfo, write_package

    prepare_lang(LangConfig(units="grapheme"), ["YES NO"], folder / "lang")
    lang = Lang.load(folder / "lang")
    grammar = folder / "G.fst.txt"
    grammar.write_text(
        "".join(f"0 0 {lang.words[word]} {lang.words[word]} 1.1\n" for word in ("YES", "NO")) + "0 1.1\n"
    )
    prepare_decoding_graph("ctc", (), folder / "lang", grammar, folder)
    features = asdict(FeatureConfig(num_mel_bins=20))
    tiny_model(lang.num_units, lang.units_hash, **features).save(folder / "model.safetensors")
    info = PackageInfo(Scales(1.0, 0.0))
    write_package(folder / "package", folder / "model.safetensors", folder / "lang", folder / HLG_FILE, info)
    return folder / "package"


def export() -> str:
    """Export the streaming step of a tiny model to ONNX and TorchScript, and compare both with the model."""
    import numpy as np
    import onnxruntime
    import torch

    from augmem.export import ModelStep, export_step

    model = tiny_model().eval()
    step = ModelStep(model, bank_size=4).eval()
    inputs = (torch.from_numpy(noise(1.0)[: step.example()[0].numel()]).view_as(step.example()[0]), *step.example()[1:])
    with TemporaryDirectory() as folder, torch.no_grad():
        expected = step(*inputs)[0].numpy()
        names = export_step(model, Path(folder) / "step.onnx", bank_size=4)["inputs"]
        session = onnxruntime.InferenceSession(str(Path(folder) / "step.onnx"), providers=["CPUExecutionProvider"])
        by_onnx = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
        export_step(model, Path(folder) / "step.pt", bank_size=4)
        by_script = torch.jit.load(str(Path(folder) / "step.pt"))(*inputs)[0].numpy()
    difference = max(float(np.abs(found - expected).max()) for found in (by_onnx, by_script))
    if difference > 1e-4:
        raise ArithmeticError(f"log-probabilities differ from those of the model by {difference:.2g}")
    return f"ONNX by onnxruntime {onnxruntime.__version__} and TorchScript are equal to the model"
