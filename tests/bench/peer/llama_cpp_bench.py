"""Measures llama.cpp's own C loop on this machine:

    python tests/bench/peer/llama_cpp_bench.py MODEL.gguf [-p 512] [-n 128] [--threads 2] [--flash on|off|best]

Prefill: one batch of -p tokens. Decode: -n tokens, one `llama_decode` each, from an empty cache of one token, as `rocmforge bench`
does; no token is sampled, which favours the peer. Both follow a warm-up; f16 K/V cache. `best` measures with and without flash
attention and keeps the faster of each. Prints JSON: {"prefill_tok_s", "decode_tok_s", ...}.

Dependencies (PyPI): llama-cpp-python, built on this machine so that it uses its instruction set; numpy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "oracle"))
from peers import LlamaCpp  # noqa: E402


def measure(llama: LlamaCpp, n_prompt: int, n_decode: int) -> dict[str, float]:
    prompt = [(7919 * i + 13) % llama.n_vocab for i in range(n_prompt)]
    llama.reset()
    llama.decode(prompt, 0)
    llama.reset()
    start = time.perf_counter()
    llama.decode(prompt, 0)
    llama.last_logits()[0]
    prefill = n_prompt / (time.perf_counter() - start)

    llama.reset()
    llama.decode(prompt[:1], 0)
    start = time.perf_counter()
    for i in range(n_decode):
        llama.decode([(104729 * i + 7) % llama.n_vocab], i + 1)
        llama.last_logits()[0]
    return {"prefill_tok_s": prefill, "decode_tok_s": n_decode / (time.perf_counter() - start)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash", choices=("on", "off", "best"), default="best")
    args = parser.parse_args()
    best: dict[str, float] = {}
    n_ctx = max(args.prompt, args.generate + 1) + 32
    for flash in {"on": (True,), "off": (False,), "best": (True, False)}[args.flash]:
        llama = LlamaCpp(args.model, args.threads, n_ctx, flash_attn=flash, n_batch=max(args.prompt, 1))
        found = measure(llama, args.prompt, args.generate)
        best = {key: max(value, best.get(key, 0.0)) for key, value in found.items()}
        info = {"version": llama.version, "system": llama.system_info().strip()}
        llama.close()
    rounded = {key: round(value, 2) for key, value in best.items()}
    print(json.dumps(rounded | {"threads": args.threads, "flash": args.flash} | info))


if __name__ == "__main__":
    main()
