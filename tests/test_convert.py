"""`augmem convert`: pickled files of earlier releases and of icefall, and graphs written in icefall's format."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import k2
import pytest
import torch

from augmem.automata import load_fsa
from augmem.convert import convert, rewrite, write_icefall
from augmem.errors import UserError
from augmem.graph import HLG_FILE
from augmem.lang import Lang, NeuralLm, NeuralLmConfig
from augmem.model import AcousticModel
from augmem.streaming import open_package
from augmem.training.checkpoint import load_newest_checkpoint
from augmem.training.labels import output_definition, read_labels
from tests.test_tensors import Payload
from tests.tiny import make_package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny"))


def run(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "augmem.cli", "convert", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def old_model(package: Path, path: Path) -> AcousticModel:
    """Write the model of a package as earlier releases did."""
    model = AcousticModel.load(package / "model.safetensors")
    content = {"format": "augmem acoustic model 1", "description": model.description.to_json()}
    torch.save({**content, "weights": model.state_dict()}, path)
    return model


def test_a_package_of_an_earlier_release_is_converted_only_with_trust(package: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(package, old)
    (old / "model.safetensors").unlink()
    model = old_model(package, old / "model.pt")
    values = json.loads((old / "package.json").read_text())
    del values["files"], values["sha256"]
    (old / "package.json").write_text(json.dumps({**values, "format": "augmem package 2"}))
    with pytest.raises(UserError, match=rf"convert it: augmem convert --trust {old}"):
        open_package(old)
    refused = run(old)
    assert refused.returncode == 1 and "add --trust" in refused.stderr and not (old / "model.safetensors").exists()
    done = run("--trust", old)
    assert done.returncode == 0, done.stderr
    found = open_package(old).model
    assert found.description == model.description
    assert all(torch.equal(found.state_dict()[name], weight) for name, weight in model.state_dict().items())


def test_other_files_of_earlier_releases_are_converted(package: Path, tmp_path: Path) -> None:
    description = AcousticModel.load(package / "model.safetensors").description
    labels = {"b": torch.tensor([1, 1, 0], dtype=torch.int32), "a": torch.zeros(0, dtype=torch.int32)}
    definition = json.dumps(output_definition(description))
    torch.save({"format": "augmem frame labels 1", "meaning": definition, "labels": labels}, tmp_path / "labels.pt")
    rewrite(tmp_path / "labels.pt", tmp_path / "labels.safetensors")
    assert read_labels(tmp_path / "labels.safetensors", description) == {"b": [1, 1, 0], "a": []}

    lm = NeuralLm(NeuralLmConfig(dim=8), ["</s>", "<UNK>", "A"]).eval()
    config = json.dumps({"dim": 8})
    torch.save({"config": config, "words": list(lm.words), "state": lm.state_dict()}, tmp_path / "neural.pt")
    rewrite(tmp_path / "neural.pt", tmp_path / "neural.safetensors")
    again = NeuralLm.load(tmp_path / "neural.safetensors")
    assert again.log_probabilities([["A"]]) == lm.log_probabilities([["A"]])

    state = {"model": {"w": torch.ones(2)}, "optimiser": {"state": {0: {"step": torch.tensor(1.0)}}}, "position": {}}
    torch.save(state, tmp_path / "checkpoint-00000007.pt")
    rewrite(tmp_path / "checkpoint-00000007.pt", tmp_path / "checkpoint-00000007.safetensors")
    found = load_newest_checkpoint(tmp_path)
    assert found and found[1]["optimiser"] == state["optimiser"] and torch.equal(found[1]["model"]["w"], torch.ones(2))


@pytest.mark.parametrize("name", ["HLG.pt", "L.pt", "L_disambig.pt"])
def test_graphs_pass_through_icefalls_format(name: str, package: Path, tmp_path: Path) -> None:
    source = package / (HLG_FILE if name == "HLG.pt" else "lang")
    write_icefall(source, tmp_path / name)
    icefall = k2.Fsa.from_dict(torch.load(tmp_path / name))
    rewrite(tmp_path / name, tmp_path / "again.safetensors")
    again = load_fsa(tmp_path / "again.safetensors")
    assert torch.equal(again.arcs.values(), icefall.arcs.values()) and again.num_arcs > 10
    values = [fsa.aux_labels.tolist() for fsa in (again, icefall)]
    assert values[0] == values[1]
    assert (Lang.load(package / "lang").tokens["#0"] in icefall.labels.tolist()) == (name == "L_disambig.pt")


def test_code_of_a_file_runs_in_another_process_and_its_content_is_refused(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "executed"), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: not a model, checkpoint"):
        convert(tmp_path / "x.pt")
    assert (tmp_path / "executed").exists() and not (tmp_path / "x.safetensors").exists()


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such file"):
        convert(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(UserError, match=r"text\.pt: not a file of torch\.save"):
        convert(tmp_path / "text.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"cut\.pt: torch\.load cannot read it"):
        rewrite(tmp_path / "cut.pt", tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match=r"--output .*x: must end in \.pt"):
        write_icefall(tmp_path, tmp_path / "x")
    (tmp_path / "cut.safetensors").touch()
    with pytest.raises(UserError, match=r"cut\.safetensors: exists; delete it"):
        convert(tmp_path / "cut.pt")
