/** The parent's side of one engine process. */

import type { Clock, Timer } from "../../async.ts"
import { type FromChild, parseFromChild, type ToChild } from "./protocol.ts"

interface EngineProcessEvents {
  onMessage: (message: FromChild) => void
  /** The process has exited, and no message follows. @param reason A clause: "was killed (SIGKILL)". */
  onExit: (reason: string) => void
}

/** Time, in milliseconds, for messages that a process sent before it exited. */
const DRAIN_MS = 100

/** One engine process, from start to exit. It inherits only the IPC channel and standard error. */
export class EngineProcess {
  readonly #clock: Clock
  readonly #child: Bun.Subprocess<"ignore", "ignore", "inherit">
  #reason: string | undefined
  #over = false
  #outgoing: ToChild[] = []
  #kill: Timer | undefined
  /** Resolves after `onExit` was called. */
  readonly exited: Promise<void>

  /** @throws Error when the executable cannot be started. */
  constructor(command: readonly string[], clock: Clock, { onMessage, onExit }: EngineProcessEvents) {
    this.#clock = clock
    const disconnected = Promise.withResolvers<void>()
    this.#child = Bun.spawn([...command], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit",
      serialization: "advanced",
      ipc: (message) => {
        if (this.#over) return
        try {
          onMessage(parseFromChild(message))
        } catch (error) {
          this.kill(`sent a message that cannot be read (${error instanceof Error ? error.message : error})`)
        }
      },
      onDisconnect: () => {
        disconnected.resolve()
        // The process is alive, but cannot be reached any more.
        if (this.#child.exitCode === null) this.#kill ??= clock.setTimeout(() => this.kill("closed its channel"), 1000)
      },
    })
    this.exited = this.#child.exited.then(async () => {
      const drained = clock.setTimeout(disconnected.resolve, DRAIN_MS)
      await disconnected.promise
      clock.clearTimeout(drained)
      clock.clearTimeout(this.#kill)
      this.#over = true
      onExit(this.#reason ?? howItEnded(this.#child))
    })
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Messages of one turn of the event loop are sent together at its end. They are lost where the process is gone; `onExit` reports that. */
  send(message: ToChild): void {
    if (this.#outgoing.length === 0) setImmediate(() => this.#flush())
    this.#outgoing.push(message)
  }

  #flush(): void {
    try {
      this.#child.send(this.#outgoing.splice(0))
    } catch (error) {
      if (this.#child.exitCode === null && this.#child.signalCode === null) this.kill(`cannot be reached (${error})`)
    }
  }

  /** Kills the process. @param reason Passed to `onExit`. */
  kill(reason: string): void {
    this.#reason ??= reason
    this.#child.kill("SIGKILL")
  }

  /** Lets the process free its resources and exit, and kills it after `graceMs`. Resolves when it has exited. */
  async stop(graceMs: number): Promise<void> {
    this.#reason ??= "was stopped"
    this.send({ type: "close" })
    this.#clock.clearTimeout(this.#kill)
    this.#kill = this.#clock.setTimeout(() => this.#child.kill("SIGKILL"), graceMs)
    await this.exited
  }
}

const SIGNALS: Readonly<Record<string, string>> = {
  SIGKILL: "was killed (SIGKILL; by the system, if memory ran out)",
  SIGSEGV: "crashed (SIGSEGV)",
  SIGBUS: "crashed (SIGBUS; was the model file cut off or replaced?)",
}

function howItEnded({ signalCode, exitCode }: Pick<Bun.Subprocess, "signalCode" | "exitCode">): string {
  if (signalCode !== null) return SIGNALS[signalCode] ?? `was ended by signal ${signalCode}`
  return `exited with code ${exitCode}`
}
