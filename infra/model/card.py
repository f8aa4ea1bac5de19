"""Owns the measured part of README.md: runs every evaluation on the saved folder and writes what came out. Knows no text of its own.

Usage: python card.py MODEL_FOLDER [--corpus train.jsonl]
"""

import argparse
import contextlib
import io
import json
from pathlib import Path

from evaluate import HERE, Chat, perplexity, rubric, samples, unseen

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def printed(run) -> str:
    """What an evaluation prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run()
    return out.getvalue().rstrip("\n")


def last_json(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def measured(chat: Chat, corpus: str | None) -> str:
    log = [json.loads(line) for line in (HERE / "training.jsonl").read_text(encoding="utf-8").splitlines()]
    held = last_json(printed(lambda: perplexity(chat)))
    answers = printed(lambda: rubric(chat, corpus))
    new = last_json(printed(lambda: unseen(chat)))
    right = last_json(answers)
    wrong = "\n".join(f"- {line.split(': ', 1)[1]}" for line in answers.splitlines() if line.startswith("WRONG"))
    rows = [
        ("Training steps", f"{log[-1]['step']:,}"),
        ("Tokens seen in training, padding included", f"{log[-1]['tokens'] / 1e6:,.0f} million"),
        ("Training time without compiling", f"{log[-1]['seconds']:.0f} s"),
        (f"Held-out perplexity ({held['heldout_tokens']:,} tokens of the assistant)", f"{held['perplexity']:.3f}"),
        ("Rubric: right answers", f"{right['rubric_right']} of {right['rubric_questions']}"),
        ("Unseen wordings: right topic", f"{new['unseen_right']} of {new['unseen_questions']}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"| | |\n| --- | --- |\n{table}\n\nRubric questions answered wrongly:\n\n{wrong}\n\n### Samples\n\n{printed(lambda: samples(chat))}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--corpus")
    options = parser.parse_args()
    card = HERE / "README.md"
    before, rest = card.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    filling = measured(Chat(options.folder), options.corpus)
    Path(card).write_text(f"{before}{BEGIN}\n\n{filling}\n\n{END}{after}", encoding="utf-8")
    print(filling.split("### Samples")[0])


if __name__ == "__main__":
    main()
