"""Owns the tokenizer of millrace-mini: trains a byte-level BPE on the corpus and writes its files. Knows nothing of the model.

Usage: python train_tokenizer.py CORPUS_FOLDER MODEL_FOLDER
"""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 6144
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Words with one leading mark or space, single digits, runs of marks, line ends, spaces.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TRAINING_LINES = 60_000

CHAT_TEMPLATE = (
    "{%- for message in messages -%}\n"
    "{%- set role = 'system' if message['role'] == 'developer' else message['role'] -%}\n"
    "{%- if role not in ['system', 'user', 'assistant'] -%}\n"
    "{{- raise_exception('role must be system, developer, user or assistant') -}}\n"
    "{%- endif -%}\n"
    "{{- '<|im_start|>' + role + '\\n' + message['content'] + '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|im_start|>assistant\\n' -}}\n"
    "{%- endif -%}"
)


def texts(corpus: Path):
    with (corpus / "train.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number >= TRAINING_LINES:
                return
            example = json.loads(line)
            if "text" in example:
                yield example["text"]
            else:
                yield from (message["role"] + "\n" + message["content"] for message in example["messages"])


def train(corpus: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in (END_OF_TEXT, START, END)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpus), trainer)
    return tokenizer


def write_config(folder: Path) -> None:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": END,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "additional_special_tokens": [START],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    special = {"eos_token": END, "pad_token": END_OF_TEXT, "additional_special_tokens": [START]}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def main() -> None:
    corpus, folder = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = train(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_config(folder)
    sample = "Ünïcödé 🚀 tokens, 12345 and\n\tcode() {}"
    assert tokenizer.decode(tokenizer.encode(sample).ids) == sample
    print(f"{tokenizer.get_vocab_size()} tokens, e.g. {tokenizer.encode('Explain paged attention in 2 sentences.').tokens}")


if __name__ == "__main__":
    main()
