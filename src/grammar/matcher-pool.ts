/** The worker's side: the matchers of one engine's sequences, over compiled grammars. */

import { DEAD } from "./automaton.ts"
import { compileConstraint } from "./compile.ts"
import { type Constraint, constraintKey } from "./constraint.ts"
import { GrammarError } from "./expr.ts"
import type { Masks, NodeTokens } from "./masks.ts"
import type { TokenTrie } from "./token-trie.ts"

export type ToThread =
  /** The first message. `path`: the model file, whose tokenizer the worker reads. */
  | { type: "vocabulary"; path: string; nVocab: number }
  /**
   * Opens a matcher for a sequence that ends with one of `stopTokens` and may have `tokens` already. The constraint is JSON text, since
   * messages cannot hold raw numbers.
   */
  | { type: "open"; id: number; constraint: string; stopTokens: readonly number[]; tokens: readonly number[] }
  | { type: "accept"; id: number; token: number }
  | { type: "close"; id: number }

export type FromThread =
  /** Too many grammars are in use: the matcher waits. */
  | { type: "waiting"; id: number }
  /** The matcher is opened now. While its constraint is compiled, the worker answers nothing else. */
  | { type: "begun"; id: number }
  /** The mask after the first `nTokens` tokens. [ceil(nVocab / 32)] bit i % 32 of word i / 32 stands for token i. */
  | { type: "mask"; id: number; nTokens: number; mask: Uint32Array }
  /** The constraint is invalid or not supported. */
  | { type: "refused"; id: number; reason: string }
  /** The worker has a fault. */
  | { type: "failed"; id: number; reason: string }

/** Most compiled grammars. The least recently used one without matchers is dropped for a new one; without such a one, matchers wait. */
const MAX_GRAMMARS = 32

interface Grammar {
  masks: Masks
  matchers: Set<MatcherState>
}

interface MatcherState {
  grammar: Grammar
  state: number
  /** Number of tokens that led to `state`. */
  nTokens: number
  stopTokens: readonly number[]
}

type Open = Extract<ToThread, { type: "open" }>

/** The open matchers of one engine, and the compiled grammars that they share. */
export class MatcherPool {
  /** By `constraintKey`, least recently used first. */
  readonly #grammars = new Map<string, Grammar>()
  readonly #matchers = new Map<number, MatcherState>()
  #waiting: Open[] = []
  readonly #common = new Map<string, NodeTokens>()

  constructor(
    readonly trie: TokenTrie,
    readonly post: (message: FromThread) => void,
  ) {}

  receive(message: Exclude<ToThread, { type: "vocabulary" }>): void {
    const { id } = message
    try {
      if (message.type === "open") this.#open(message)
      else if (message.type === "accept") this.#accept(id, message.token)
      else this.#close(id)
    } catch (error) {
      this.#close(id)
      const reason = error instanceof Error ? error.message : String(error)
      this.post({ type: error instanceof GrammarError ? "refused" : "failed", id, reason })
    }
  }

  #open(message: Open): void {
    const { id, stopTokens, tokens } = message
    const constraint = JSON.parse(message.constraint) as Constraint
    const key = constraintKey(constraint)
    if (!this.#grammars.has(key) && !this.#makeRoom()) {
      this.#waiting.push(message)
      this.post({ type: "waiting", id })
      return
    }
    this.post({ type: "begun", id })
    const grammar = this.#grammar(key, constraint)
    const matcher: MatcherState = { grammar, stopTokens, nTokens: 0, state: grammar.masks.automaton.start() }
    grammar.matchers.add(matcher)
    this.#matchers.set(id, matcher)
    for (const token of tokens) this.#advance(matcher, token)
    this.#sendMask(id, matcher)
  }

  #accept(id: number, token: number): void {
    const matcher = this.#matchers.get(id)
    if (!matcher) return
    this.#advance(matcher, token)
    this.#sendMask(id, matcher)
  }

  #close(id: number): void {
    this.#waiting = this.#waiting.filter((message) => message.id !== id)
    const matcher = this.#matchers.get(id)
    if (!matcher) return
    matcher.grammar.matchers.delete(matcher)
    this.#matchers.delete(id)
    if (matcher.grammar.matchers.size > 0) return
    for (const message of this.#waiting.splice(0)) this.receive(message)
  }

  #grammar(key: string, constraint: Constraint): Grammar {
    const grammar = this.#grammars.get(key) ?? {
      masks: compileConstraint(constraint, this.trie, this.#common),
      matchers: new Set(),
    }
    this.#grammars.delete(key)
    this.#grammars.set(key, grammar)
    return grammar
  }

  #makeRoom(): boolean {
    for (const [key, { matchers }] of this.#grammars) {
      if (this.#grammars.size < MAX_GRAMMARS) break
      if (matchers.size === 0) this.#grammars.delete(key)
    }
    return this.#grammars.size < MAX_GRAMMARS
  }

  #advance(matcher: MatcherState, token: number): void {
    const { masks, matchers } = matcher.grammar
    if (masks.automaton.isFull) {
      const kept = [...matchers].map((other) => [other, masks.automaton.snapshot(other.state)] as const)
      masks.forget()
      for (const [other, snapshot] of kept) other.state = masks.automaton.restore(snapshot)
    }
    const state = masks.after(matcher.state, token)
    if (state === DEAD) throw new Error(`token ${token} was chosen although the constraint does not allow it`)
    matcher.state = state
    matcher.nTokens++
  }

  #sendMask(id: number, { grammar: { masks }, state, nTokens, stopTokens }: MatcherState): void {
    const mask = masks.of(state).slice()
    const ends = masks.automaton.ends[state] === 1
    for (const token of stopTokens) {
      const [word, bit] = [token >>> 5, 1 << (token & 31)]
      if (word < mask.length) mask[word] = ends ? (mask[word] as number) | bit : (mask[word] as number) & ~bit
    }
    this.post({ type: "mask", id, nTokens, mask })
  }
}
