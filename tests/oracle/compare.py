"""Compares our engine with both peers, and the peers with each other, on the real model:

    python tests/oracle/compare.py MODEL.gguf [--bun PATH]

Prints, over 512 tokens of text, the mean KL divergence of full next-token distributions, the difference in perplexity and the share
of positions with the same best token; then greedy continuations of 48 tokens from 10 prompts, and the first difference of each.
Dependencies: see peers.py; and the native library (`bun run build`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from make_golden import GOLDEN, N_GREEDY, N_POSITIONS
from peers import LlamaCpp, Transformers, kl_divergence, log_softmax, perplexity

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = "rocmforge"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--bun", default=str(ROOT / "node_modules/.bin/bun"))
    args = parser.parse_args()
    golden = json.loads((GOLDEN / "peers.json").read_text())
    text = golden["text_tokens"]
    prompts = [p["tokens"] for p in golden["prompts"]]

    reference, llama, llama_plain = Transformers(args.model), LlamaCpp(args.model), LlamaCpp(args.model, flash_attn=False)
    names = {"transformers": reference, "llama.cpp": llama, "llama.cpp, no flash": llama_plain}
    logprobs = {name: log_softmax(peer.logits(text[:N_POSITIONS])) for name, peer in names.items()}
    greedy = {name: [peer.greedy(p, N_GREEDY) for p in prompts] for name, peer in names.items()}
    logprobs[OURS], ours = run_ours(args, logprobs["transformers"].shape[1])
    greedy[OURS] = [(tokens, []) for tokens in ours]

    print(f"{'':22} {'from':22} {'KL':>9} {'perplexity':>10} {'differs':>9} {'same best':>9} {'same text':>9}")
    for found, expected in (
        (OURS, "transformers"),
        (OURS, "llama.cpp"),
        ("llama.cpp", "transformers"),
        ("llama.cpp, no flash", "transformers"),
        ("llama.cpp, no flash", "llama.cpp"),
    ):
        a, b = logprobs[expected], logprobs[found]
        ppl = perplexity(b, text[1:])
        change = 100 * (ppl / perplexity(a, text[1:]) - 1)
        best = (a.argmax(1) == b.argmax(1)).mean()
        equal = sum(x[0] == y[0] for x, y in zip(greedy[expected], greedy[found]))
        kl = kl_divergence(a, b)
        print(f"{found:22} {expected:22} {kl:9.2e} {ppl:10.3f} {change:+8.3f}% {best:9.4f} {equal:4d} of {len(prompts)}")
    for expected in ("transformers", "llama.cpp"):
        for i, ((tokens, margins), (found, _)) in enumerate(zip(greedy[expected], greedy[OURS])):
            at = next((k for k in range(N_GREEDY) if tokens[k] != found[k]), None)
            if at is not None:
                print(f"prompt {i} parts from {expected} at token {at}: {found[at]}, not {tokens[at]}, which led by {margins[at]:.4f}")


def run_ours(args: argparse.Namespace, n_vocab: int) -> tuple[np.ndarray, list[list[int]]]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.bun, "run", "tests/oracle/ours.ts", str(Path(args.model).resolve()), folder], cwd=ROOT, check=True)
        logits = np.fromfile(Path(folder) / "logits.f32", "<f4").reshape(N_POSITIONS, n_vocab)
        return log_softmax(logits), json.loads((Path(folder) / "greedy.json").read_text())


if __name__ == "__main__":
    main()
