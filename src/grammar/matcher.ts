/** The engine's side of one sequence under a constraint. */

import type { Clock } from "../async.ts"
import type { Constraint } from "./constraint.ts"

export interface MatcherEvents {
  /** The mask has arrived. */
  onMask(): void
  /** No further mask will arrive. @param error RequestError where the constraint is at fault. */
  onFailure(error: Error): void
}

/** Gives the mask of the tokens that may come next in one sequence. It requests the next mask as soon as a token was chosen. */
export class Matcher {
  /** Tokens chosen so far. */
  readonly tokens: number[] = []
  /** When the pending answer was requested, by the clock; `undefined` where none is pending. */
  asked: number | undefined
  readonly #clock: Clock
  readonly #send: (message: { type: "accept"; token: number } | { type: "close" }) => void
  #mask: Uint32Array | undefined

  constructor(
    readonly constraint: Constraint,
    readonly stopTokens: ReadonlySet<number>,
    readonly events: MatcherEvents,
    clock: Clock,
    send: (message: { type: "accept"; token: number } | { type: "close" }) => void,
  ) {
    this.#clock = clock
    this.#send = send
  }

  /** [ceil(nVocab / 32)] bit i % 32 of word i / 32 stands for token i. `undefined` until the mask has arrived. */
  get mask(): Uint32Array | undefined {
    return this.#mask
  }

  /** Records a chosen token and requests the next mask. */
  accept(token: number): void {
    this.tokens.push(token)
    this.#mask = undefined
    this.asked = this.#clock.now()
    this.#send({ type: "accept", token })
  }

  /** Ends the matcher. Safe to call twice. */
  close(): void {
    this.#send({ type: "close" })
  }

  setMask(mask: Uint32Array): void {
    this.#mask = mask
    this.asked = undefined
    this.events.onMask()
  }
}
