"""Writes tests/golden/real: the peers' results for SmolLM2-135M-Instruct, small enough to commit.

    python tests/oracle/make_golden.py MODEL.gguf

Dependencies: see peers.py. Inputs: text.txt and prompts.json in tests/golden/real. Outputs there:

  peers.json        model hash, peer versions, token ids of text and prompts, perplexities, greedy continuations
  top64.bin         transformers, float32: per position, 512 times, uint16 token[64], float16 log-probability[64], best first

For llama.cpp only summary figures are written, for comparison; the README there explains why it cannot be the reference.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from peers import LlamaCpp, Transformers, kl_divergence, log_softmax, perplexity

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "real"
N_POSITIONS = 512
N_TOP = 64
N_GREEDY = 48


def main(path: str) -> None:
    llama = LlamaCpp(path)
    text = llama.tokenize((GOLDEN / "text.txt").read_text())[: N_POSITIONS + 1]
    prompts = [{"text": p, "tokens": llama.tokenize(p)} for p in json.loads((GOLDEN / "prompts.json").read_text())]
    tokens = [p["tokens"] for p in prompts]
    reference = Transformers(path)
    expected = log_softmax(reference.logits(text[:N_POSITIONS]))
    write_top(expected)
    golden = {
        "model": {"file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()},
        "text_tokens": text,
        "prompts": prompts,
        "transformers": describe(reference, expected, text, tokens),
    }
    found = log_softmax(llama.logits(text[:N_POSITIONS]))
    golden["llama.cpp"] = describe(llama, found, text, tokens) | {"kl": kl_divergence(expected, found)}
    (GOLDEN / "peers.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def write_top(logprobs: np.ndarray) -> None:
    top = np.argsort(-logprobs, axis=1, kind="stable")[:, :N_TOP]
    rows = np.empty((N_POSITIONS, 2, N_TOP), "<u2")
    rows[:, 0] = top
    rows[:, 1] = np.take_along_axis(logprobs, top, 1).astype("<f2").view("<u2")
    rows.tofile(GOLDEN / f"top{N_TOP}.bin")


def describe(peer: LlamaCpp | Transformers, logprobs: np.ndarray, text: list[int], prompts: list[list[int]]) -> dict:
    greedy = []
    for prompt in prompts:
        tokens, margins = peer.greedy(prompt, N_GREEDY)
        greedy.append({"tokens": tokens, "margins": [round(m, 4) for m in margins]})
    return {"version": peer.version, "perplexity": perplexity(logprobs, text[1:]), "greedy": greedy}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/oracle/make_golden.py MODEL.gguf")
    main(sys.argv[1])
