import { type Clock, realClock, type Timer } from "../../async.ts"
import { EngineError } from "../../errors.ts"
import type { EngineHealth } from "../types.ts"
import { EngineProcess } from "./engine-process.ts"
import { type FromChild, PROTOCOL, type StepMessage, type ToChild, type WireOptions } from "./protocol.ts"
import { Watchdog } from "./watchdog.ts"
import { fromWire } from "./wire-error.ts"

export interface BackOffOptions {
  /** Before the first restart; it doubles with every further one. */
  firstMs: number
  maxMs: number
  /** A process that lived this long begins a new count. */
  healthyMs: number
}

const BACK_OFF: BackOffOptions = { firstMs: 100, maxMs: 30_000, healthyMs: 30_000 }

export interface SupervisorOptions {
  /** The model file. */
  path: string
  /** How the model is called in reports. */
  name: string
  load: WireOptions
  /** The command line of an engine process. */
  command: readonly string[]
  /** Hears of every fault and restart, one line at a time. */
  onReport: (line: string) => void
  onUpload?: ((progress: { done: number; total: number }) => void) | undefined
  /** An engine process that has requests, and whose steps do not advance for so long, is taken for hung. Default 120 s. */
  watchdogMs?: number | undefined
  /** An engine process that says nothing for so long while it loads the model is taken for hung. Default 10 min. */
  startMs?: number
  backOff?: BackOffOptions
  /** How long an engine process may take to end when it is closed; then it is killed. Default 3 s. */
  graceMs?: number
  clock?: Clock
}

type ReadyMessage = Extract<FromChild, { type: "ready" }>

export interface SupervisorEvents {
  onReady: (message: ReadyMessage) => void
  onStep: (message: StepMessage) => void
  /** The process that was ready is gone. Returns what became of its requests, for the report. */
  onDown: (reason: string) => string
  /** There will be no further process. */
  onFailed: (error: Error) => void
}

/** Engine processes in a row that may end before they are ready. */
const MAX_FAILED_STARTS = 8

const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Keeps one engine process running: starts it, watches it, and starts it again. It knows nothing of requests. */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #clock: Clock
  readonly #events: SupervisorEvents
  readonly #backOff: BackOff
  readonly #watchdog: Watchdog
  #process: EngineProcess | undefined
  #health: EngineHealth = { state: "starting", reason: "the engine is loading the model" }
  /** When the running process became ready. */
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
      // The executable is gone, or the system has no process left.
      setImmediate(() => this.#onExit(`could not be started (${messageOf(error)})`))
    }
  }

  send(message: ToChild): void {
    this.#process?.send(message)
  }

  /** Says whether the process has requests, and so has to advance. */
  expectSteps(expected: boolean): void {
    if (this.#health.state !== "ready" || this.#watchdog.watching === expected) return
    if (expected) this.#watchdog.watch(this.#watchdogMs)
    else this.#watchdog.rest()
  }

  /** Ends the process, and waits for its end. */
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
        "the program on the disk is another version than this process; restart the server",
      )
      this.#end(`is of another version (${protocol}, not ${PROTOCOL}); restart the server`)
      return
    }
    const { path, load } = this.#options
    const limits = this.#limitsOnce
    // What was promised of the context stays so, whatever else took memory meanwhile.
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
    else this.#end(`hung: it said nothing for ${seconds(this.#startMs)}`)
  }

  /** Kills a process that is of no use any more. Until it is gone, requests wait. */
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
    onReport(`${name}: the engine process ${reason}; ${requests}it is started again in ${seconds(delay)}`)
    this.#restart = this.#clock.setTimeout(() => this.start(), delay)
  }

  #finalError(reason: string): Error {
    if (this.#limitsOnce === undefined) {
      return this.#startError ?? new EngineError(`the engine process ${reason} while it loaded the model`)
    }
    const tries = `the engine could not be started again, ${MAX_FAILED_STARTS} times in a row`
    const remedy = "restart the server, or the machine if its GPU hangs"
    return new EngineError(`${tries}: it ${reason} (${remedy})`, { cause: this.#startError })
  }
}

/** How long to wait before something that ended is started again. */
class BackOff {
  #failures = 0

  constructor(readonly options: BackOffOptions) {}

  /** @param livedMs how long it had worked; 0 when it did not even start. */
  next(livedMs: number): number {
    const { firstMs, maxMs, healthyMs } = this.options
    if (livedMs > 0 && livedMs >= healthyMs) this.#failures = 0
    return Math.min(maxMs, firstMs * 2 ** this.#failures++)
  }
}
