"""Train the digits model that the README audits; the zoo trainer will replace this script.

    python scripts/train_digits.py zoo/digits-adam-l2.toml zoo/checkpoints/digits-adam-l2.safetensors

It follows the spec for what such a spec says (Adam with L2 on every parameter, no flips, iterations).
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F

from sparsity_audit.checkpoints.safetensors_io import write_safetensors
from sparsity_audit.data.load import load_corpus
from sparsity_audit.models.init import initialise
from sparsity_audit.models.metadata import metadata_entries
from sparsity_audit.models.registry import build_network
from sparsity_audit.schema.spec import ModelMetadata, ZooSpec


def train(spec: ZooSpec, images: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.nn.Module:
    """Return the trained network, in eval mode."""
    torch.manual_seed(spec.seed)
    network = build_network(spec.network, images.shape[1], classes)
    initialise(network, spec.init)
    settings = spec.optimizer.model_dump(exclude={"name"})
    optimizer = torch.optim.Adam(network.parameters(), weight_decay=spec.regularizer.strength, **settings)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, spec.schedule.milestones, spec.schedule.factor)
    order = torch.Generator().manual_seed(spec.seed)
    step = 0
    while step < spec.schedule.total:
        for batch in torch.randperm(len(images), generator=order).split(spec.batch_size):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % 1000 == 0:
                print(f"step {step}: loss {loss.item():.4f}", flush=True)
            if step == spec.schedule.total:
                break
    return network.eval()


def main(spec_file: str, output: str) -> None:
    """Train the spec and write the checkpoint with its metadata."""
    spec = ZooSpec.model_validate(tomllib.loads(Path(spec_file).read_text()))
    if (spec.data.name, spec.optimizer.name, spec.regularizer.kind) != ("digits", "adam", "l2"):
        raise SystemExit("this script trains Adam with L2 on the digits only")
    corpus = load_corpus("digits", "train")
    mean, std = torch.tensor(corpus.normalisation.mean), torch.tensor(corpus.normalisation.std)
    pixels = torch.from_numpy(corpus.images).float() / corpus.pixel_scale
    images = ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()
    network = train(spec, images, torch.from_numpy(corpus.labels), len(corpus.class_names))
    metadata = ModelMetadata(
        network=spec.network,
        input_shape=corpus.shape,
        classes=list(corpus.class_names),
        normalisation=corpus.normalisation,
        pixel_scale=corpus.pixel_scale,
        spec=spec,
    )
    write_safetensors(Path(output), network.state_dict(), metadata_entries(metadata))


if __name__ == "__main__":
    main(*sys.argv[1:])
