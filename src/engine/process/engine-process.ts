import type { Clock, Timer } from "../../async.ts"
import { type FromChild, parseFromChild, type ToChild } from "./protocol.ts"

export interface EngineProcessEvents {
  onMessage: (message: FromChild) => void
  /** The process is gone, and no message follows. @param reason a clause: "was killed (SIGKILL)". */
  onExit: (reason: string) => void
}

/** How long messages that a process sent before it ended may take to come. */
const LAST_WORDS_MS = 100

/** One engine process, from its start to its end. It holds nothing of ours but the IPC channel and standard error. */
export class EngineProcess {
  readonly #clock: Clock
  readonly #child: Bun.Subprocess<"ignore", "ignore", "inherit">
  #reason: string | undefined
  #over = false
  #outgoing: ToChild[] = []
  #kill: Timer | undefined
  /** Resolves after `onGone`. */
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
          this.kill(`sent what could not be read (${error instanceof Error ? error.message : error})`)
        }
      },
      onDisconnect: () => {
        disconnected.resolve()
        // Alive but mute: of no use any more.
        if (this.#child.exitCode === null) this.#kill ??= clock.setTimeout(() => this.kill("closed its channel"), 1000)
      },
    })
    this.exited = this.#child.exited.then(async () => {
      const lastWords = clock.setTimeout(disconnected.resolve, LAST_WORDS_MS)
      await disconnected.promise
      clock.clearTimeout(lastWords)
      clock.clearTimeout(this.#kill)
      this.#over = true
      onExit(this.#reason ?? howItEnded(this.#child))
    })
  }

  get pid(): number {
    return this.#child.pid
  }

  /** What is sent in one turn of the event loop goes out together at its end. A process that is gone hears nothing; `onGone` says so. */
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

  /** Ends it at once. @param reason what `onGone` is to say. */
  kill(reason: string): void {
    this.#reason ??= reason
    this.#child.kill("SIGKILL")
  }

  /** Lets it free what it holds; it is killed where that takes longer than `grace_ms`. Resolves when it is gone. */
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
