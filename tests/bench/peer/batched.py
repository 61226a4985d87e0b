"""Compares our speed with llama.cpp's on the same file, with several streams at once, in pairs that cancel the machine's drift:

    python tests/bench/peer/batched.py MODEL.gguf [--rounds 3] [--streams 1,4,8,16] [-p 64] [-n 128] [--threads 2] [--http] [--json]

Each round runs ours (`tests/bench/batched.ts`: the engine in process; with --http also `tests/bench/serve.ts`: clients, server and
engine process on the same processors) and the peer's C loop (`llama_cpp_batched.py`), each in a separate process, in alternating
order. Prints tokens per second including prefill for every number of streams: the medians and the median ratio. Use an idle machine:
any other load distorts the result. Dependencies: those of llama_cpp_batched.py, and the native library (`bun run build`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from paired import HERE, ROOT, run_json  # noqa: E402


def engine(args: argparse.Namespace) -> dict[str, float]:
    return tok_s(run_json([args.bun, "tests/bench/batched.ts", args.model, *shape(args), "--threads", str(args.threads)]))


def http(args: argparse.Namespace) -> dict[str, float]:
    sizes = ["--prompt", str(args.prompt), "--generate", str(args.generate), "--streams", args.streams]
    serve = ["--", "--device", "cpu", "--threads", str(args.threads), "--ctx-size", str(args.prompt + args.generate)]
    found = run_json([args.bun, "tests/bench/serve.ts", "--model", args.model, *sizes, "--json", *serve])
    return {str(load["streams"]): load["tokens_per_second"] for load in found}


def peer(args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, str(HERE / "llama_cpp_batched.py"), args.model, *shape(args)]
    return tok_s(run_json([*command, "--threads", str(args.threads)]))


def shape(args: argparse.Namespace) -> list[str]:
    return ["--streams", args.streams, "-p", str(args.prompt), "-n", str(args.generate)]


def tok_s(found: dict) -> dict[str, float]:
    return {streams: each["tok_s"] for streams, each in found["streams"].items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", default="1,4,8,16")
    parser.add_argument("-p", "--prompt", type=int, default=64)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--http", action="store_true", help="measure ours through HTTP as well")
    parser.add_argument("--bun", default=str(ROOT / "node_modules/.bin/bun"))
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    args.model = str(Path(args.model).resolve())

    parties = {"engine": engine, "peer": peer} | ({"http": http} if args.http else {})
    rounds: list[dict[str, dict[str, float]]] = []
    for i in range(args.rounds):
        # Alternate the order: the second program has the file in memory and a warm processor.
        order = list(parties) if i % 2 == 0 else list(reversed(parties))
        rounds.append({name: parties[name](args) for name in order})

    report: dict[str, dict[str, float]] = {}
    for streams in args.streams.split(","):
        rates = {name: statistics.median(each[name][streams] for each in rounds) for name in parties}
        ratios = {
            f"{name}/peer": statistics.median(each[name][streams] / each["peer"][streams] for each in rounds)
            for name in parties
            if name != "peer"
        }
        report[streams] = rates | ratios
    if args.json:
        print(json.dumps({"medians": report, "rounds": rounds}))
        return
    for streams, each in report.items():
        ours = ", ".join(f"{name} {each[name]:.0f} ({each[f'{name}/peer']:.2f}x)" for name in parties if name != "peer")
        print(f"{streams:>3} streams: {ours}; llama.cpp {each['peer']:.0f} tok/s")
    first = args.streams.split(",")[0]
    for name in parties:
        gains = ", ".join(f"{s}: {each[name] / report[first][name]:.2f}x" for s, each in report.items())
        print(f"{name:>6} over {first} stream: {gains}")


if __name__ == "__main__":
    main()
