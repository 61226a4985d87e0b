#!/usr/bin/env bun
import { ENCODER, ENGINE_COMMAND } from "./program.ts"

// Each imports what it needs: an engine process has no command line, and a command no engine process's side.
if (!Bun.isMainThread) {
  // In a program that is one file, its threads begin here too.
  const { workerData } = await import("node:worker_threads")
  if (workerData === ENCODER) await import("./server/chat/encoder-worker.ts")
  else await import("./grammar/thread-main.ts")
} else if (process.argv[2] === ENGINE_COMMAND) {
  const { runEngineProcess } = await import("./engine/process/child.ts")
  runEngineProcess()
} else {
  const { main } = await import("./cli/main.ts")
  process.exit(await main(process.argv))
}
