"""Compares our speed with llama.cpp's on the same file, in pairs that cancel the machine's drift:

    python tests/bench/peer/paired.py MODEL.gguf [--rounds 5] [-p 512] [-n 128] [--threads 2] [--json]

Each round runs ours and the peer once, in alternating order, each in a separate process that warms up first. Prints both rates of
each round with their ratio, the medians, and the median ratio. Use an idle machine: any other load distorts the result.
Dependencies: those of llama_cpp_bench.py, and the native library (`bun run build`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
PHASES = ("prefill_tok_s", "decode_tok_s")


def run_json(command: list[str]) -> dict:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def ours(args: argparse.Namespace) -> dict[str, float]:
    shape = ["-p", str(args.prompt), "-n", str(args.generate), "-r", "1", "--threads", str(args.threads)]
    found = run_json([args.bun, "run", "src/cli.ts", "bench", args.model, *shape, "--device", "cpu", "--json"])
    return {
        "prefill_tok_s": found["prefill"][0]["tokens_per_second"]["median"],
        "decode_tok_s": found["decode"][0]["tokens_per_second"]["median"],
    }


def peer(args: argparse.Namespace) -> dict[str, float]:
    shape = ["-p", str(args.prompt), "-n", str(args.generate), "--threads", str(args.threads)]
    return run_json([sys.executable, str(HERE / "llama_cpp_bench.py"), args.model, *shape])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bun", default=str(ROOT / "node_modules/.bin/bun"))
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    args.model = str(Path(args.model).resolve())

    rounds = []
    for i in range(args.rounds):
        # Alternate the order: the second program has the file in memory and a warm processor.
        first, second = (ours, peer) if i % 2 == 0 else (peer, ours)
        a, b = first(args), second(args)
        mine, theirs = (a, b) if first is ours else (b, a)
        rounds.append({phase: (mine[phase], theirs[phase], mine[phase] / theirs[phase]) for phase in PHASES})
        if not args.json:
            print(f"round {i + 1}: " + "; ".join(f"{phase[:7]} {describe(rounds[-1][phase])}" for phase in PHASES), flush=True)

    medians = {
        phase: tuple(statistics.median(each[phase][i] for each in rounds) for i in range(3)) for phase in PHASES
    }
    if args.json:
        names = ("ours", "peer", "ratio")
        print(json.dumps({
            phase: dict(zip(names, medians[phase])) | {"ratios": [each[phase][2] for each in rounds]} for phase in PHASES
        }))
    else:
        for phase in PHASES:
            spread = [each[phase][2] for each in rounds]
            print(f"median {phase[:7]} {describe(medians[phase])} (pairs: {min(spread):.2f} … {max(spread):.2f})")


def describe(figures: tuple[float, float, float]) -> str:
    return f"{figures[0]:.1f} tok/s, llama.cpp {figures[1]:.1f}: {figures[2]:.2f}x"


if __name__ == "__main__":
    main()
