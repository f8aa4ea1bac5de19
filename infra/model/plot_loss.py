"""Owns the picture of the training run: training.jsonl in, loss.svg out. Knows nothing of the network.

Usage: python plot_loss.py
"""

import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).parent


def main() -> None:
    # Fixed, so that the same log gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = "loss"
    matplotlib.rcParams["svg.fonttype"] = "none"
    log = [json.loads(line) for line in (HERE / "training.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = [entry["tokens"] / 1e6 for entry in log]
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    axes.plot(tokens, [entry["train"] for entry in log], label="training (all tokens, questions weighted 0.1)")
    axes.plot(tokens, [entry["heldout"] for entry in log], label="held out (assistant's tokens)")
    axes.set_yscale("log")
    axes.set_xlabel("million tokens, padding included")
    axes.set_ylabel("cross-entropy, nats per token")
    axes.set_title(f"held-out perplexity at the end: {math.exp(log[-1]['heldout']):.3f}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    figure.savefig(HERE / "loss.svg", metadata={"Date": None})
    print(f"{len(log)} points, {log[-1]['tokens']} tokens, {log[-1]['seconds']} s")


if __name__ == "__main__":
    main()
