"""Measures llama.cpp's own C loop with several sequences at once:

    python tests/bench/peer/llama_cpp_batched.py MODEL.gguf [--streams 1,4,8,16] [-p 64] [-n 128] [--threads 2] [--flash on|off|best]

All streams start together: one batch per prompt, then -n - 1 batches with one token of every stream; greedy, f16 K/V cache. numpy's
argmax finds the best token of each row. Every measurement follows a warm-up. `best` measures with and without flash attention and
keeps the faster. Prints JSON: {"streams": {"8": {"tok_s", "decode_tok_s"}, ...}}. tok_s includes prefill, decode_tok_s does not.

Dependencies (PyPI): llama-cpp-python, built on this machine so that it uses its instruction set; numpy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "oracle"))


class Batched:
    """A llama.cpp context with several sequences; peers.LlamaCpp has one with a single sequence."""

    def __init__(self, path: str, n_threads: int, n_streams: int, n_tokens: int, flash_attn: bool):
        from llama_cpp import llama_cpp as c

        self.c = c
        self._quiet = c.llama_log_callback(lambda level, text, data: None)
        c.llama_log_set(self._quiet, None)
        c.llama_backend_init()
        model_params = c.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = c.llama_model_load_from_file(path.encode(), model_params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.n_vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        params = c.llama_context_default_params()
        params.n_ctx = n_streams * n_tokens
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = n_streams
        params.n_threads = params.n_threads_batch = n_threads
        params.flash_attn_type = 1 if flash_attn else 0
        self.context = c.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp cannot open a context")
        self.batch = c.llama_batch_init(512, 0, 1)

    def close(self) -> None:
        self.c.llama_batch_free(self.batch)
        self.c.llama_free(self.context)
        self.c.llama_model_free(self.model)

    def reset(self) -> None:
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

    def decode(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Decodes rows of (token, position, sequence, logits requested); returns the best next token of each row with logits."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = 1 if wanted else 0
        status = self.c.llama_decode(self.context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        wanted = [i for i, row in enumerate(rows) if row[3]]
        logits = self.c.llama_get_logits_ith
        return [int(np.argmax(np.ctypeslib.as_array(logits(self.context, i), shape=(self.n_vocab,)))) for i in wanted]


def measure(llama: Batched, streams: int, n_prompt: int, n_generate: int, salt: int) -> dict[str, float]:
    prompts = [[(7919 * i + 104729 * s + salt) % llama.n_vocab for i in range(n_prompt)] for s in range(streams)]
    llama.reset()
    start = time.perf_counter()
    tokens: list[int] = []
    for s, prompt in enumerate(prompts):
        tokens += llama.decode([(token, i, s, i == n_prompt - 1) for i, token in enumerate(prompt)])
    began = time.perf_counter()
    for i in range(n_generate - 1):
        tokens = llama.decode([(token, n_prompt + i, s, True) for s, token in enumerate(tokens)])
    end = time.perf_counter()
    return {
        "tok_s": streams * n_generate / (end - start),
        "decode_tok_s": streams * (n_generate - 1) / (end - began),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--streams", default="1,4,8,16")
    parser.add_argument("-p", "--prompt", type=int, default=64)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash", choices=("on", "off", "best"), default="best")
    args = parser.parse_args()
    counts = [int(each) for each in args.streams.split(",")]
    best: dict[str, dict[str, float]] = {}
    for flash in {"on": (True,), "off": (False,), "best": (True, False)}[args.flash]:
        llama = Batched(args.model, args.threads, max(counts), args.prompt + args.generate, flash)
        measure(llama, 1, args.prompt, 8, 1)
        for streams in counts:
            found = measure(llama, streams, args.prompt, args.generate, 13)
            known = best.setdefault(str(streams), found)
            best[str(streams)] = {key: max(value, known[key]) for key, value in found.items()}
        llama.close()
    rounded = {streams: {key: round(value, 1) for key, value in each.items()} for streams, each in best.items()}
    print(json.dumps({"streams": rounded, "threads": args.threads, "flash": args.flash}))


if __name__ == "__main__":
    main()
