#!/usr/bin/env bun
import { ENCODER, ENGINE_COMMAND } from "./program.ts"

// Each branch imports only what it runs: an engine process needs no command line, and a command needs no engine process.
if (!Bun.isMainThread) {
  // In an executable made of one file, worker threads start here as well.
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
