# %% [markdown]
# # Lattices
# Decode a file with a packaged model, and look at its lattice: best path, n-best list, posteriors, oracle error rate.

# %%
import sys
from pathlib import Path

import augmem

augmem.prepare_libraries()  # before torch is imported

import numpy as np
import torch

package_folder, audio, reference = Path(sys.argv[1]), Path(sys.argv[2]), " ".join(sys.argv[3:])

# %% Scores of the model: log-probabilities (1, T, V)
package = augmem.open_package(package_folder)
features = augmem.features_of_file(audio, package.features)
with torch.no_grad():
    log_probs, lengths = package.model(features[None], torch.tensor([len(features)]))

# %% Search
graph = augmem.DecodingGraph.load(package.graph)
(result,) = augmem.find_lattices(log_probs, lengths, graph, package.search)
lattice = result.lattice
print(f"{lattice.num_frames} frames, {lattice.num_arcs} arcs, {lattice.density:.1f} arcs per frame")


def text(words: list[int] | tuple[int, ...]) -> str:
    """Return words by id as text."""
    return " ".join(package.lang.word_of[word] for word in words)


# %% Best path
print("best path:", text(augmem.path_word_ids(lattice, augmem.best_path(lattice))))

# %% The best distinct word sequences, each with the sum over its alignments
for sequence in augmem.best_word_sequences(lattice, package.search)[:5]:
    print(f"{sequence.total:9.2f}  {text(sequence.words)}")

# %% Arcs that compete: posteriors sum to 1 in each frame
posteriors = augmem.arc_posteriors(lattice)
print(f"{np.mean(posteriors > 0.99):.0%} of the arcs have a posterior above 0.99")

# %% Errors that no choice of path can avoid
if reference:
    words = package.lang.normalisation(reference).split()
    ids = package.lang.word_ids(" ".join(words))
    print(f"oracle: {augmem.lattice_oracle_errors(lattice, ids)} errors in {len(words)} words")
