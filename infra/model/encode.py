"""Owns turning the corpus into token ids with a loss weight per token; writes one .npz. Knows nothing of the network.

Usage: python encode.py CORPUS_FOLDER MODEL_FOLDER OUT.npz
"""

import json
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

MAX_TOKENS = 4096
END_OF_TEXT = 0
# Kinds whose questions stay answerable when a few of their tokens are hidden: no names, numbers or code to copy.
MASKABLE = {"field", "ruled", "refusal"}


def segments(example: dict) -> list[tuple[str, bool]]:
    """Text pieces as the chat template writes them, each with whether the assistant says it."""
    if "text" in example:
        return [(example["text"], True)]
    pieces: list[tuple[str, bool]] = []
    for message in example["messages"]:
        spoken = message["role"] == "assistant"
        pieces.append((f"<|im_start|>{message['role']}\n", False))
        pieces.append((f"{message['content']}<|im_end|>", spoken))
        pieces.append(("\n", False))
    return pieces


def encode(tokenizer: Tokenizer, lines: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    examples = [json.loads(line) for line in lines]
    parts = [segments(example) for example in examples]
    flat = [text for pieces in parts for text, _ in pieces]
    encoded = iter(tokenizer.encode_batch_fast(flat))
    ids, spoken = [], []
    for example, pieces in zip(examples, parts):
        row, marks = [], []
        for _, said in pieces:
            piece = next(encoded).ids
            row += piece
            marks += [said] * len(piece)
        if "text" in example:
            row.append(END_OF_TEXT)
            marks.append(True)
        ids.append(np.array(row[:MAX_TOKENS], dtype=np.uint16))
        spoken.append(np.array(marks[:MAX_TOKENS], dtype=bool))
    return ids, spoken


def check_pieces(tokenizer: Tokenizer, lines: list[str]) -> None:
    """Encoding piece by piece must equal encoding the whole prompt, as a server does."""
    for line in lines:
        pieces = segments(json.loads(line))
        whole = tokenizer.encode("".join(text for text, _ in pieces)).ids
        split = [token for text, _ in pieces for token in tokenizer.encode(text).ids]
        assert whole == split, line


def read_split(tokenizer: Tokenizer, path: Path, into: dict[str, np.ndarray], name: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    check_pieces(tokenizer, lines[:500])
    ids, spoken = [], []
    for start in range(0, len(lines), 5000):
        more_ids, more_spoken = encode(tokenizer, lines[start : start + 5000])
        ids += more_ids
        spoken += more_spoken
    into[f"{name}_maskable"] = np.packbits([json.loads(line)["kind"] in MASKABLE for line in lines])
    into[f"{name}_ids"] = np.concatenate(ids)
    into[f"{name}_spoken"] = np.packbits(np.concatenate(spoken))
    into[f"{name}_lengths"] = np.array([len(row) for row in ids], dtype=np.uint16)
    print(f"{name}: {len(ids)} examples, {len(into[f'{name}_ids'])} tokens, {np.concatenate(spoken).mean():.0%} spoken")


def main() -> None:
    corpus, folder, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    arrays: dict[str, np.ndarray] = {}
    read_split(tokenizer, corpus / "train.jsonl", arrays, "train")
    read_split(tokenizer, corpus / "heldout.jsonl", arrays, "heldout")
    np.savez_compressed(out, **arrays)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
