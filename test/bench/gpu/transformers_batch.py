"""Output tokens/s of transformers' continuous batching: the Llama-3-8B shape, bfloat16, random weights, on one GPU.

Started by `npm run bench:gpu -- --transformers <python>`, a Python that has torch and transformers. All requests come at
once; the time is from the first one's arrival to the last one's end, without loading and capturing. The last line printed is JSON.
"""

import argparse
import json

import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--prompt", type=int, default=16, help="tokens")
    parser.add_argument("--output", type=int, default=128, help="tokens")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


def model(layers: int, device: str) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=500_000.0), dtype=torch.bfloat16,
    )
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        return LlamaForCausalLM(config).eval()


def main() -> None:
    asked = options()
    torch.manual_seed(1)
    llama = model(asked.layers, asked.device)
    prompts = torch.randint(10, 128_000, (asked.requests, asked.prompt)).tolist()
    # No end of sequence: every request has its whole output.
    config = GenerationConfig(max_new_tokens=asked.output, do_sample=True, temperature=0.7, top_k=0, eos_token_id=-1, pad_token_id=0)
    results = llama.generate_batch(prompts, generation_config=config, progress_bar=False)
    outputs = list(results.values())
    tokens = sum(len(each.generated_tokens) for each in outputs)
    if len(outputs) != asked.requests or tokens != asked.requests * asked.output:
        raise SystemExit(f"{len(outputs)} requests of {asked.requests} ended, with {tokens} tokens")
    seconds = max(each.lifespan[1] for each in outputs) - min(each.created_time for each in outputs)
    versions = dict(transformers=transformers.__version__, torch=torch.__version__)
    print(json.dumps(dict(requests=asked.requests, prompt=asked.prompt, output=asked.output, tokensPerSecond=tokens / seconds, seconds=seconds, **versions)))


main()
