/** The thread that computes token masks, and the engine's access to it. */

import { Worker } from "node:worker_threads"
import { type Clock, every, realClock } from "../async.ts"
import { EngineError, fieldMessage, RequestError } from "../errors.ts"
import { stringifyJson } from "../json.ts"
import { threadProgram } from "../program.ts"
import type { Constraint } from "./constraint.ts"
import { Matcher, type MatcherEvents } from "./matcher.ts"
import type { FromThread, ToThread } from "./matcher-pool.ts"

interface GrammarWorkerOptions {
  /** The model file, whose tokenizer the worker reads. */
  path: string
  nVocab: number
  /** Time limit for an answer, in milliseconds. Default 10,000. */
  limitMs?: number
  /** Program of the thread. Default: `thread-main.ts`. */
  program?: string
  clock?: Clock
}

/**
 * Runs the matchers of one engine in a thread, so that grammars do not block steps. The thread starts with the first matcher. Where it does
 * not answer in time, it is terminated, the matcher that kept it busy fails, and the others continue in a new thread.
 */
export class GrammarWorker {
  readonly #path: string
  readonly #nVocab: number
  readonly #limitMs: number
  readonly #program: string
  readonly #matchers = new Map<number, Matcher>()
  #worker: Worker | undefined
  #busy: number | undefined
  readonly #clock: Clock
  #stopWatch = () => {}
  /** `asked` time of the matcher found overdue at the previous check. */
  #late: number | undefined
  #next = 0

  constructor({ path, nVocab, limitMs = 10_000, program, clock = realClock }: GrammarWorkerOptions) {
    this.#path = path
    this.#nVocab = nVocab
    this.#limitMs = limitMs
    this.#program = program ?? threadProgram("grammar/thread-main.ts")
    this.#clock = clock
  }

  /** Opens a matcher. The caller closes it. */
  open(constraint: Constraint, stopTokens: ReadonlySet<number>, events: MatcherEvents): Matcher {
    const id = this.#next++
    const matcher: Matcher = new Matcher(constraint, stopTokens, events, this.#clock, (message) => {
      if (this.#matchers.get(id) !== matcher) return
      this.#post({ ...message, id })
      if (message.type === "close") this.#remove(id)
    })
    if (this.#matchers.size === 0) this.#begin()
    this.#matchers.set(id, matcher)
    this.#open(id, matcher)
    return matcher
  }

  /** Terminates the thread. Its matchers get no further masks. Safe to call twice. */
  close(): void {
    this.#end()
    this.#matchers.clear()
    this.#stopWatch()
  }

  #post(message: ToThread): void {
    this.#worker?.postMessage(message)
  }

  #open(id: number, matcher: Matcher): void {
    const { constraint, stopTokens, tokens } = matcher
    matcher.asked = this.#clock.now()
    this.#post({ type: "open", id, constraint: stringifyJson(constraint), stopTokens: [...stopTokens], tokens })
  }

  /** Starts the thread where there is none. It keeps the process alive while there are matchers. */
  #begin(): void {
    this.#stopWatch = every(this.#clock, Math.min(1000, this.#limitMs / 4), () => this.#checkTime())
    if (this.#worker) this.#worker.ref()
    else this.#start()
  }

  #start(): void {
    const worker = new Worker(this.#program)
    worker.on("message", (message: FromThread) => {
      if (worker === this.#worker) this.#receive(message)
    })
    worker.on("error", ({ message }: Error) => {
      if (worker === this.#worker)
        this.#restart(() => new EngineError(`the thread that checks constraints failed: ${message}`))
    })
    this.#worker = worker
    this.#post({ type: "vocabulary", path: this.#path, nVocab: this.#nVocab })
  }

  #end(): void {
    void this.#worker?.terminate()
    this.#worker = undefined
    this.#busy = undefined
  }

  #remove(id: number): void {
    this.#matchers.delete(id)
    if (this.#matchers.size > 0) return
    this.#stopWatch()
    this.#worker?.unref()
    // No matcher needs the result, and no check would notice if the thread never finished.
    if (this.#busy !== undefined) this.#end()
  }

  #receive(message: FromThread): void {
    const { id } = message
    const matcher = this.#matchers.get(id)
    if (message.type === "waiting") {
      if (matcher) matcher.asked = undefined
      return
    }
    if (message.type === "begun") {
      this.#busy = id
      if (matcher) matcher.asked = this.#clock.now()
      return
    }
    if (this.#busy === id) this.#busy = undefined
    if (!matcher) return
    if (message.type === "mask") {
      // After a restart, an answer of the earlier thread may be outdated.
      if (message.nTokens === matcher.tokens.length) matcher.setMask(message.mask)
    } else if (message.type === "failed")
      this.#fail(id, () => new EngineError(`the thread that checks constraints failed: ${message.reason}`))
    else this.#fail(id, () => refusal(matcher, message.reason))
  }

  #fail(id: number, errorFor: (matcher: Matcher) => Error): void {
    const matcher = this.#matchers.get(id)
    if (!matcher) return
    matcher.close()
    matcher.events.onFailure(errorFor(matcher))
  }

  #checkTime(): void {
    const due = this.#clock.now() - this.#limitMs
    const before = this.#late
    this.#late = [...this.#matchers.values()].find(({ asked }) => asked !== undefined && asked < due)?.asked
    // After a long step, the answer may be here but not read yet. It will be by the next check.
    if (this.#late === undefined || this.#late !== before) return
    const reason = `computing the next token took more than ${this.#limitMs / 1000} s; simplify it`
    this.#restart((matcher) => refusal(matcher, reason))
  }

  /** Terminates the thread, fails the matcher that kept it busy, and opens the others again in a new thread. */
  #restart(errorFor: (matcher: Matcher) => Error): void {
    const asked = [...this.#matchers].filter(([, matcher]) => matcher.asked !== undefined)
    const [first] = asked.sort(([, a], [, b]) => (a.asked as number) - (b.asked as number))
    const culprit = this.#busy ?? first?.[0]
    this.#end()
    // Where no matcher kept it busy, the thread cannot run at all.
    for (const id of culprit === undefined ? [...this.#matchers.keys()] : [culprit]) this.#fail(id, errorFor)
    if (this.#matchers.size === 0) return
    this.#start()
    for (const [id, other] of this.#matchers) this.#open(id, other)
  }
}

const refusal = ({ constraint: { param } }: Matcher, reason: string): RequestError =>
  new RequestError(fieldMessage`{${param}} cannot be enforced: ${reason}`, param, "invalid_constraint")
