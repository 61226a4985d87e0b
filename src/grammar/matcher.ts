import type { Constraint } from "./constraint.ts"

export interface MatcherEvents {
  /** The mask has come. */
  onMask(): void
  /** There will be none. @param error RequestError where the constraint is at fault. */
  onFailure(error: Error): void
}

/** One text that keeps to a constraint: the tokens that may come next, asked for as soon as one was chosen. */
export class Matcher {
  /** Tokens chosen so far. */
  readonly tokens: number[] = []
  /** When an answer was asked for that has not come; `undefined` where none is due. */
  asked: number | undefined
  readonly #send: (message: { type: "accept"; token: number } | { type: "close" }) => void
  #mask: Uint32Array | undefined

  constructor(
    readonly constraint: Constraint,
    readonly stopTokens: ReadonlySet<number>,
    readonly events: MatcherEvents,
    send: (message: { type: "accept"; token: number } | { type: "close" }) => void,
  ) {
    this.#send = send
  }

  /** [ceil(n_vocab / 32)] bit i % 32 of word i / 32 for token i; `undefined` until it has come. */
  get mask(): Uint32Array | undefined {
    return this.#mask
  }

  /** A token was chosen; the next mask is on its way. */
  accept(token: number): void {
    this.tokens.push(token)
    this.#mask = undefined
    this.asked = performance.now()
    this.#send({ type: "accept", token })
  }

  /** The text is over. Safe twice. */
  close(): void {
    this.#send({ type: "close" })
  }

  setMask(mask: Uint32Array): void {
    this.#mask = mask
    this.asked = undefined
    this.events.onMask()
  }
}
