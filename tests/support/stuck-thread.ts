/** The thread that computes token masks, with two faults: one pattern makes it loop endlessly, another makes it exit. */

import { parentPort } from "node:worker_threads"
import type { Constraint } from "../../src/grammar/constraint.ts"
import type { ToThread } from "../../src/grammar/matcher-pool.ts"
import "../../src/grammar/thread-main.ts"

parentPort?.on("message", (message: ToThread) => {
  if (message.type !== "open") return
  const constraint = JSON.parse(message.constraint) as Constraint
  if (constraint.type !== "regex") return
  if (constraint.pattern === "for ever") {
    parentPort?.postMessage({ type: "begun", id: message.id })
    for (;;);
  }
  if (constraint.pattern === "dies") throw new Error("it died")
})
