"""Owns the golden file of the embedded model: prompts, their ids, and greedy tokens of transformers (fp32, CPU). Knows nothing of the engine.

Run, from the project folder, after every change of models/millrace-mini: python infra/model/make_golden.py
A prompt is used only if at every step the best logit leads the second by more than MARGIN, so that rounding cannot decide.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path("models/millrace-mini")
OUT = Path("test/fixtures/millrace-mini.golden.json")
HELD_OUT = Path("infra/model/heldout.jsonl")
CHATS, RAW = 30, 20
NEW_TOKENS = 16
MARGIN = 1e-3
LOGIT_PROMPTS = 3
# Tokens of one step of the ragged batch.
MAX_TOTAL = 4000
LENGTHS = [1, 2, 3, 5, 8, 12, 17, 25, 33, 48, 64, 65, 90, 110, 128, 129, 160, 200, 256, 400]


def chat_candidates(tokenizer, examples):
    """Chats up to a question of the user: many short ones and a few long ones."""
    chats = []
    for example in examples:
        messages = example.get("messages", [])
        asked = [i for i, message in enumerate(messages) if message["role"] == "user"]
        if asked:
            upto = messages[: asked[-1] + 1]
            text = tokenizer.apply_chat_template(upto, tokenize=False, add_generation_prompt=True)
            chats.append({"messages": upto, "prompt": tokenizer(text, add_special_tokens=False).input_ids})
    by_length = sorted(chats, key=lambda chat: len(chat["prompt"]))
    wanted = [round((len(by_length) - 1) * (i / (CHATS - 1)) ** 1.5) for i in range(CHATS)]
    # Each place may fall back on its neighbours.
    return [[by_length[at + step] for step in range(-8, 9) if 0 <= at + step < len(by_length)] for at in wanted]


def raw_candidates(tokenizer, examples):
    """Beginnings of plain texts, cut where text and tokens agree."""
    texts = [example["text"] for example in examples if "text" in example]
    long = ["\n\n".join(texts[i:] + texts[:i]) for i in range(min(12, len(texts)))]
    places = []
    for length in LENGTHS[:RAW]:
        place = []
        for text in long:
            cut = tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids[:length])
            ids = tokenizer(cut, add_special_tokens=False).input_ids
            if len(ids) == length:
                place.append({"text": cut, "prompt": ids})
        places.append(place)
    return places


@torch.no_grad()
def greedy(model, prompt):
    """Argmax of the whole sequence's logits each time, no cache: the plainest reference. Also the smallest lead."""
    ids, margin = list(prompt), float("inf")
    for _ in range(NEW_TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = logits.topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[len(prompt) :], margin


def choose(model, places):
    cases, near_ties, used = [], 0, set()
    for place in places:
        middle = len(place) // 2
        for candidate in sorted(place, key=lambda one: abs(place.index(one) - middle)):
            if tuple(candidate["prompt"]) in used:
                continue
            expected, margin = greedy(model, candidate["prompt"])
            if margin <= MARGIN:
                near_ties += 1
                continue
            used.add(tuple(candidate["prompt"]))
            cases.append({**candidate, "expected": expected, "margin": margin})
            break
        else:
            raise SystemExit("no candidate with a clear lead; add candidates")
    return cases, near_ties


def main():
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    examples = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
    cases, near_ties = choose(model, chat_candidates(tokenizer, examples) + raw_candidates(tokenizer, examples))
    total = sum(len(case["prompt"]) for case in cases)
    if total > MAX_TOTAL:
        raise SystemExit(f"{total} prompt tokens do not fit into one step of {MAX_TOTAL}")
    closest = min(case.pop("margin") for case in cases)
    logits = []
    with torch.no_grad():
        for case in cases[1 : 1 + LOGIT_PROMPTS]:
            row = model(torch.tensor([case["prompt"]])).logits[0, -1]
            logits.append({"prompt": case["prompt"], "logits": [float(f"{x:.8g}") for x in row.tolist()]})
    lengths = sorted(len(case["prompt"]) for case in cases)
    print(f"{len(cases)} prompts of {lengths[0]} to {lengths[-1]} tokens, {total} in all; {near_ties} left out as near ties; smallest lead {closest:.4f}")
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in logits)
    OUT.write_text(f'{{"nearTies":{near_ties},"cases":[\n{lines}\n],"logits":[\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
