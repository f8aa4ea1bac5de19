"""Owns measuring the saved folder on the CPU: rubric, held-out perplexity, sampled answers. Knows nothing of training.

Usage: python evaluate.py MODEL_FOLDER (ask "QUESTION"... | rubric | unseen | perplexity | samples) [--corpus train.jsonl]
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

HERE = Path(__file__).parent
MAX_NEW_TOKENS = 300


class Chat:
    def __init__(self, folder: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def prompt(self, messages: list[dict]) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False).input_ids

    @torch.no_grad()
    def answer(self, messages: list[dict], temperature: float = 0.0) -> str:
        ids = torch.tensor([self.prompt(messages)])
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature > 0 else {"do_sample": False, "temperature": None, "top_p": None}
        out = self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_NEW_TOKENS, **sampling)
        return self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def as_messages(entry: dict) -> list[dict]:
    return entry["messages"] if "messages" in entry else [{"role": "user", "content": entry["question"]}]


def normal(text: str) -> str:
    return re.sub(r"[^\w]+", " ", text.lower()).strip()


def check_unseen(questions: list[str], corpus: str) -> None:
    """No rubric question may stand in the training data, whatever its case and punctuation."""
    wanted = {normal(question): question for question in questions}
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            for message in json.loads(line).get("messages", []):
                if message["role"] == "user" and normal(message["content"]) in wanted:
                    sys.exit(f"rubric question stands in the training data: {message['content']}")
    print(f"none of the {len(questions)} questions stands in {corpus}")


def rubric(chat: Chat, corpus: str | None) -> None:
    """A question is right if its answer holds one word of every group."""
    entries = json.loads((HERE / "rubric.json").read_text())
    if corpus is not None:
        check_unseen([entry["question"] for entry in entries], corpus)
    right = 0
    for entry in entries:
        answer = chat.answer(as_messages(entry))
        missing = [group for group in entry["keywords"] if not any(word.lower() in answer.lower() for word in group)]
        right += not missing
        print(f"{'right' if not missing else f'WRONG, none of {missing}'}: {entry['question']}\n    {answer[:300]!r}")
    print(json.dumps({"rubric_right": right, "rubric_questions": len(entries)}))


def unseen(chat: Chat) -> None:
    """Written questions that the generator kept out: right if the answer holds a sentence of the question's topic."""
    entries = [json.loads(line) for line in (HERE / "unseen.jsonl").read_text(encoding="utf-8").splitlines()]
    right = 0
    for entry in entries:
        answer = chat.answer([{"role": "user", "content": entry["question"]}])
        # An answer may put the topic's name where the sentence says "It".
        sentences = [re.sub(r"^(It|They) ", "", sentence) for sentence in entry["sentences"]]
        found = any(sentence in answer for sentence in sentences)
        right += found
        if not found:
            print(f"WRONG: {entry['question']} ({entry['topic']})\n    {answer[:200]!r}")
    print(json.dumps({"unseen_right": right, "unseen_questions": len(entries)}))


@torch.no_grad()
def perplexity(chat: Chat) -> None:
    """Over the assistant's tokens of the held-out chats, each from its own beginning."""
    total, count = 0.0, 0
    for line in (HERE / "heldout.jsonl").read_text(encoding="utf-8").splitlines():
        example = json.loads(line)
        ids, spoken = [], []
        messages = example.get("messages", [{"role": "", "content": ""}])
        pieces = [(example["text"] + "<|endoftext|>", True)] if "text" in example else [piece for message in messages for piece in ((f"<|im_start|>{message['role']}\n", False), (message["content"] + "<|im_end|>", message["role"] == "assistant"), ("\n", False))]
        for text, said in pieces:
            tokens = chat.tokenizer(text, add_special_tokens=False).input_ids
            ids += tokens
            spoken += [said] * len(tokens)
        logits = chat.model(torch.tensor([ids])).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
        kept = torch.tensor(spoken[1:])
        total += float(losses[kept].sum())
        count += int(kept.sum())
    print(json.dumps({"heldout_tokens": count, "loss": round(total / count, 5), "perplexity": round(math.exp(total / count), 4)}))


def samples(chat: Chat) -> None:
    """Unedited answers at temperature 0.7, as markdown for the model card."""
    torch.manual_seed(2026)
    for number, entry in enumerate(json.loads((HERE / "sample_prompts.json").read_text()), start=1):
        messages = as_messages(entry)
        asked = "\n".join(f"**{message['role']}:** {message['content']}" for message in messages)
        answer = chat.answer(messages, temperature=0.7)
        quoted = "\n".join(f"> {line}" if line else ">" for line in answer.split("\n"))
        print(f"{number}. {asked}\n\n{quoted}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("what", choices=["ask", "rubric", "unseen", "perplexity", "samples"])
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--corpus")
    options = parser.parse_args()
    chat = Chat(options.folder)
    if options.what == "rubric":
        rubric(chat, options.corpus)
    elif options.what == "unseen":
        unseen(chat)
    elif options.what == "perplexity":
        perplexity(chat)
    elif options.what == "samples":
        samples(chat)
    else:
        for question in options.questions:
            print(f"Q: {question}\nA: {chat.answer([{'role': 'user', 'content': question}])}\n")


if __name__ == "__main__":
    main()
