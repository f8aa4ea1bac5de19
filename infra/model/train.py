"""Owns the training run of millrace-mini: batches, schedule, log and the saved folder. Knows nothing of how text is made.

Usage: python train.py --data corpus.npz --out FOLDER (--steps N | --seconds S)
Writes FOLDER/{model.safetensors,config.json,generation_config.json,training.jsonl}.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from network import Llama, Shape, hugging_face_config, rope_table

BUCKETS = (96, 160, 256, 512, 1024, 2048, 4096)
PROMPT_WEIGHT = 0.1
WARM_UP = 0.03
SPECIAL_TOKENS = 3
START_OF_TURN = 1


class Split:
    """Examples grouped by length and padded on the right, so that every text begins at position zero."""

    def __init__(self, data: dict[str, np.ndarray], name: str, device: torch.device) -> None:
        ids = data[f"{name}_ids"].astype(np.int16)
        spoken = np.unpackbits(data[f"{name}_spoken"], count=len(ids)).astype(bool)
        lengths = data[f"{name}_lengths"].astype(np.int64)
        ends = np.cumsum(lengths)
        maskable = np.unpackbits(data[f"{name}_maskable"], count=len(lengths)).astype(bool)
        self.rows: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.tokens: dict[int, int] = {}
        lower = 0
        for bucket in BUCKETS:
            chosen = np.flatnonzero((lengths > lower) & (lengths <= bucket))
            lower = bucket
            if len(chosen) == 0:
                continue
            padded = np.zeros((len(chosen), bucket), dtype=np.int16)
            weights = np.zeros((len(chosen), bucket), dtype=np.float16)
            for row, index in enumerate(chosen):
                at = slice(ends[index] - lengths[index], ends[index])
                padded[row, : lengths[index]] = ids[at]
                weights[row, : lengths[index]] = np.where(spoken[at], 1.0, PROMPT_WEIGHT)
            self.rows[bucket] = (torch.from_numpy(padded).to(device), torch.from_numpy(weights).to(device), torch.from_numpy(maskable[chosen]).to(device))
            self.tokens[bucket] = int(lengths[chosen].sum())


def shifted(ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and weights of one batch; the last position predicts nothing."""
    ids = ids.long()
    targets = torch.roll(ids, -1, dims=1)
    weights = torch.roll(weights.float(), -1, dims=1)
    weights[:, -1] = 0
    return ids, targets, weights


def hide(ids: Tensor, weights: Tensor, maskable: Tensor, share: float) -> Tensor:
    """Inputs with a share of the question's tokens replaced by random ones: no single word may carry a question alone.

    ids and weights: [batch, length]; maskable: [batch]. The tokens of roles and turns stay.
    """
    role = (torch.roll(ids, 1, dims=1) == START_OF_TURN) | (torch.roll(ids, 2, dims=1) == START_OF_TURN)
    asked = (weights > 0) & (weights < 0.5) & (ids >= SPECIAL_TOKENS) & ~role & maskable[:, None]
    chosen = asked & (torch.rand(ids.shape, device=ids.device) < share)
    return torch.where(chosen, torch.randint_like(ids, SPECIAL_TOKENS, Shape.vocab_size), ids)


class Batches:
    """Endless batches of about the same number of tokens; every example once per epoch of its bucket."""

    def __init__(self, split: Split, tokens: int, seed: int, hidden_share: float) -> None:
        self.split, self.tokens, self.hidden_share = split, tokens, hidden_share
        self.random = np.random.default_rng(seed)
        self.buckets = list(split.rows)
        padded = {bucket: rows[0].numel() for bucket, rows in split.rows.items()}
        total = sum(padded.values())
        self.shares = [padded[bucket] / total for bucket in self.buckets]
        self.queues: dict[int, Tensor] = {}

    def next(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.of(self.buckets[self.random.choice(len(self.buckets), p=self.shares)])

    def of(self, bucket: int) -> tuple[Tensor, Tensor, Tensor]:
        ids, weights, maskable = self.split.rows[bucket]
        wanted = max(1, self.tokens // bucket)
        queue = self.queues.get(bucket)
        while queue is None or len(queue) < wanted:
            fresh = torch.from_numpy(self.random.permutation(len(ids))).to(ids.device)
            queue = fresh if queue is None else torch.cat([queue, fresh])
        self.queues[bucket] = queue[wanted:]
        rows = queue[:wanted]
        inputs, targets, shifted_weights = shifted(ids[rows], weights[rows])
        return hide(inputs, weights[rows], maskable[rows], self.hidden_share), targets, shifted_weights


@torch.no_grad()
def held_out_loss(model: Llama, split: Split, rope: tuple[Tensor, Tensor], tokens: int) -> float:
    """Mean loss of the assistant's tokens."""
    total = count = 0.0
    for bucket, (ids, weights, _) in split.rows.items():
        step = max(1, tokens // bucket)
        for start in range(0, len(ids), step):
            batch, targets, kept = shifted(ids[start : start + step], weights[start : start + step])
            spoken = (kept > 0.5).float()
            total += float(model.loss(batch, targets, spoken, rope))
            count += float(spoken.sum())
    return total / count


def learning_rate(done: float, peak: float) -> float:
    if done < WARM_UP:
        return peak * done / WARM_UP
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP)))))


def make_optimizer(model: Llama, peak: float) -> torch.optim.AdamW:
    decayed = [weight for weight in model.parameters() if weight.dim() == 2]
    plain = [weight for weight in model.parameters() if weight.dim() != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-8, fused=True)


def compile_all(model: Llama, batches: Batches, held_out: Split, rope: tuple[Tensor, Tensor]) -> None:
    """Compiles every shape before the clock starts, so that the schedule counts training only; no weight changes."""
    torch._dynamo.config.recompile_limit = 64
    for layer in model.layers:
        layer.compile(dynamic=False)
    model.head.compile(dynamic=False)
    start = time.time()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        for bucket in batches.buckets:
            model.loss(*batches.of(bucket), rope).backward()
        held_out_loss(model, held_out, rope, batches.tokens)
    model.zero_grad(set_to_none=True)
    print(f"compiled in {time.time() - start:.0f} s", flush=True)


def train(model: Llama, train_split: Split, held_out: Split, options: argparse.Namespace) -> list[dict]:
    device = model.embed_tokens.weight.device
    rope = rope_table(model.shape, max(BUCKETS), device)
    batches = Batches(train_split, options.batch_tokens, options.seed, options.hidden_share)
    optimizer = make_optimizer(model, options.lr)
    if device.type == "cuda" and not options.eager:
        compile_all(model, batches, held_out, rope)
    log: list[dict] = []
    recent: list[Tensor] = []
    tokens, step, start, last = 0, 0, time.time(), 0.0
    done = 0.0
    while done < 1.0:
        done = step / options.steps if options.steps else (time.time() - start) / options.seconds
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, options.lr)
        ids, targets, weights = batches.next()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = model.loss(ids, targets, weights, rope) / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.detach())
        tokens += ids.numel()
        step += 1
        due = time.time() - start >= last + options.log_seconds
        if due or done >= 1.0 or step == 1:
            last = time.time() - start
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                measured = held_out_loss(model, held_out, rope, options.batch_tokens)
            entry = {"step": step, "seconds": round(last, 1), "tokens": tokens, "train": round(float(torch.stack(recent).mean()), 4), "heldout": round(measured, 4), "lr": round(learning_rate(done, options.lr), 6)}
            recent.clear()
            log.append(entry)
            print(json.dumps(entry), flush=True)
    return log


def save(model: Llama, folder: Path, log: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.to(torch.float16).contiguous().cpu() for name, weight in model.hugging_face_weights().items()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = hugging_face_config(model.shape, "float16")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": True, "temperature": 0.7, "top_p": 0.95}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    (folder / "training.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))


def check_rounding(model: Llama, held_out: Split, tokens: int) -> None:
    """The saved float16 weights must cost nothing that can be measured."""
    device = model.embed_tokens.weight.device
    rope = rope_table(model.shape, max(BUCKETS), device)
    before = held_out_loss(model, held_out, rope, tokens)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(torch.float16).float())
    after = held_out_loss(model, held_out, rope, tokens)
    print(json.dumps({"heldout_float32": before, "heldout_rounded_to_float16": after, "perplexity": math.exp(after)}))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-tokens", type=int, default=65536)
    parser.add_argument("--log-seconds", type=float, default=10)
    parser.add_argument("--hidden-share", type=float, default=0.07, help="share of question tokens replaced by random ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="do not compile the layers")
    options = parser.parse_args()
    if (options.steps > 0) == (options.seconds > 0):
        parser.error("give either --steps or --seconds")
    return options


def main() -> None:
    options = read_options()
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = dict(np.load(options.data))
    train_split, held_out = Split(data, "train", device), Split(data, "heldout", device)
    print(json.dumps({"examples": {bucket: len(rows[0]) for bucket, rows in train_split.rows.items()}, "tokens": train_split.tokens}))
    model = Llama(Shape()).to(device)
    print(f"{sum(weight.numel() for weight in model.parameters())} parameters on {device}", flush=True)
    log = train(model, train_split, held_out, options)
    save(model, Path(options.out), log)
    check_rounding(model, held_out, options.batch_tokens)


if __name__ == "__main__":
    main()
