/** Keeps an engine process running. */

import { type Clock, realClock, type Timer } from "../../async.ts"
import { EngineError } from "../../errors.ts"
import type { EngineHealth } from "../types.ts"
import { EngineProcess } from "./engine-process.ts"
import { type FromChild, PROTOCOL, type StepMessage, type ToChild, type WireOptions } from "./protocol.ts"
import { Watchdog } from "./watchdog.ts"
import { fromWire } from "./wire-error.ts"

interface BackOffOptions {
  /** Wait before the first restart, in milliseconds. It doubles with every further one. */
  firstMs: number
  maxMs: number
  /** A process that ran this long resets the count. */
  healthyMs: number
}

const BACK_OFF: BackOffOptions = { firstMs: 100, maxMs: 30_000, healthyMs: 30_000 }

export interface SupervisorOptions {
  /** The model file. */
  path: string
  /** The model's name in reports. */
  name: string
  load: WireOptions
  /** The command line of an engine process. */
  command: readonly string[]
  /** Called with one line for every fault and restart. */
  onReport: (line: string) => void
  onUpload?: ((progress: { done: number; total: number }) => void) | undefined
  /** An engine process with requests is taken for hung when its steps do not advance for this time. Default 120 s. */
  watchdogMs?: number | undefined
  /** While it loads the model, an engine process is taken for hung when it sends no message for this time. Default 10 min. */
  startMs?: number
  backOff?: BackOffOptions
  /** Time that an engine process has to exit when it is closed, before it is killed. Default 3 s. */
  graceMs?: number
  clock?: Clock
}

type ReadyMessage = Extract<FromChild, { type: "ready" }>

interface SupervisorEvents {
  onReady: (message: ReadyMessage) => void
  onStep: (message: StepMessage) => void
  /** A process that was ready is gone. @returns what happened to its requests, as a clause for the report. */
  onDown: (reason: string) => string
  /** No further process will be started. */
  onFailed: (error: Error) => void
}

/** Number of engine processes in a row that may exit before they are ready. */
const MAX_FAILED_STARTS = 8

const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Starts an engine process, watches it, and restarts it. The requests are its user's. */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #clock: Clock
  readonly #events: SupervisorEvents
  readonly #backOff: BackOff
  readonly #watchdog: Watchdog
  #process: EngineProcess | undefined
  #health: EngineHealth = { state: "starting", reason: "the engine is loading the model" }
  /** When the running process became ready, by the clock. */
  #readyAt: number | undefined
  #limitsOnce: ReadyMessage["limits"] | undefined
  #failedStarts = 0
  #startError: Error | undefined
  #steps = 0
  #restart: Timer | undefined

  constructor(options: SupervisorOptions, events: SupervisorEvents) {
    this.#options = options
    this.#events = events
    this.#clock = options.clock ?? realClock
    this.#watchdog = new Watchdog(this.#clock, () => this.#onSilence())
    this.#backOff = new BackOff(options.backOff ?? BACK_OFF)
  }

  get health(): EngineHealth {
    return this.#health
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  start(): void {
    const { command } = this.#options
    this.#startError = undefined
    try {
      this.#process = new EngineProcess(command, this.#clock, {
        onMessage: (message) => this.#receive(message),
        onExit: (reason) => this.#onExit(reason),
      })
      this.#watchdog.watch(this.#startMs)
    } catch (error) {
      // The executable is missing, or the system cannot start another process.
      setImmediate(() => this.#onExit(`could not be started (${messageOf(error)})`))
    }
  }

  send(message: ToChild): void {
    this.#process?.send(message)
  }

  /** Sets whether the process has requests, so that its steps must advance. */
  expectSteps(expected: boolean): void {
    if (this.#health.state !== "ready" || this.#watchdog.watching === expected) return
    if (expected) this.#watchdog.watch(this.#watchdogMs)
    else this.#watchdog.rest()
  }

  /** Closes the process, and resolves when it has exited. */
  async close(): Promise<void> {
    this.#health = { state: "closed", reason: "the engine was closed" }
    this.#clock.clearTimeout(this.#restart)
    this.#watchdog.rest()
    await this.#process?.stop(this.#options.graceMs ?? 3000)
  }

  get #watchdogMs(): number {
    return this.#options.watchdogMs ?? 120_000
  }

  get #startMs(): number {
    return this.#options.startMs ?? 600_000
  }

  #receive(message: FromChild): void {
    if (this.#health.state === "closed") return
    if (message.type === "step") this.#onStep(message)
    else if (message.type === "hello") this.#load(message.protocol)
    else if (message.type === "ready") this.#onReady(message)
    else if (message.type === "failed") {
      this.#startError = fromWire(message.error)
      this.#end(`could not load the model: ${this.#startError.message}`)
    } else {
      this.#watchdog.reset()
      this.#options.onUpload?.(message)
    }
  }

  #load(protocol: string): void {
    if (protocol !== PROTOCOL) {
      this.#startError = new EngineError(
        "the program on the disk has another version than this process; restart the server",
      )
      this.#end(`has another version (${protocol}, not ${PROTOCOL}); restart the server`)
      return
    }
    const { path, load } = this.#options
    const limits = this.#limitsOnce
    // The context length stays as it was, however little memory is free now.
    const options = limits ? { ...load, ctxSize: limits.contextLength } : load
    this.send({ type: "load", path, options, heartbeatMs: Math.min(1000, this.#watchdogMs / 4) })
  }

  #onReady(message: ReadyMessage): void {
    this.#watchdog.rest()
    if (this.#limitsOnce) this.#options.onReport(`${this.#options.name}: the engine process is ready again`)
    this.#limitsOnce ??= message.limits
    this.#readyAt = this.#clock.now()
    this.#failedStarts = 0
    this.#steps = message.stats.steps
    this.#health = { state: "ready" }
    this.#events.onReady(message)
  }

  #onStep(message: StepMessage): void {
    const { stats, tokens, ends, failures, fault } = message
    if (stats.steps !== this.#steps || tokens.length + ends.length + failures.length > 0) this.#watchdog.reset()
    this.#steps = stats.steps
    this.#events.onStep(message)
    if (fault) this.#end(`failed: ${fault.message}`)
  }

  #onSilence(): void {
    if (this.#health.state === "ready") this.#end(`hung: no step ended within ${seconds(this.#watchdogMs)}`)
    else this.#end(`hung: it sent no message for ${seconds(this.#startMs)}`)
  }

  /** Kills a process that cannot go on. Requests are held until it has exited. */
  #end(reason: string): void {
    this.#watchdog.rest()
    this.#onUseless(reason)
    this.#process?.kill(reason)
  }

  #onUseless(reason: string): void {
    const state = this.#limitsOnce ? "restarting" : "starting"
    this.#health = { state, reason: `the engine process ${reason}` }
  }

  #onExit(reason: string): void {
    this.#watchdog.rest()
    this.#process = undefined
    if (this.#health.state === "closed") return
    this.#onUseless(reason)
    const lived = this.#readyAt === undefined ? 0 : this.#clock.now() - this.#readyAt
    const requests = this.#readyAt === undefined ? "" : this.#events.onDown(reason)
    this.#failedStarts += this.#readyAt === undefined ? 1 : 0
    this.#readyAt = undefined
    const { name, onReport } = this.#options
    if (this.#limitsOnce === undefined || this.#failedStarts >= MAX_FAILED_STARTS) {
      const error = this.#finalError(reason)
      this.#health = { state: "failed", reason: error.message }
      if (this.#limitsOnce) onReport(`${name}: ${error.message}`)
      this.#events.onFailed(error)
      return
    }
    const delay = this.#backOff.next(lived)
    onReport(`${name}: the engine process ${reason}; ${requests}it will be restarted in ${seconds(delay)}`)
    this.#restart = this.#clock.setTimeout(() => this.start(), delay)
  }

  #finalError(reason: string): Error {
    if (this.#limitsOnce === undefined) {
      return this.#startError ?? new EngineError(`the engine process ${reason} while it loaded the model`)
    }
    const tries = `the engine could not be restarted, ${MAX_FAILED_STARTS} times in a row`
    const remedy = "restart the server, or the machine if its GPU hangs"
    return new EngineError(`${tries}: it ${reason} (${remedy})`, { cause: this.#startError })
  }
}

/** Exponential back-off for restarts. */
class BackOff {
  #failures = 0

  constructor(readonly options: BackOffOptions) {}

  /** @param livedMs How long the process was ready; 0 when it never was. @returns milliseconds to wait before the restart. */
  next(livedMs: number): number {
    const { firstMs, maxMs, healthyMs } = this.options
    if (livedMs > 0 && livedMs >= healthyMs) this.#failures = 0
    return Math.min(maxMs, firstMs * 2 ** this.#failures++)
  }
}
