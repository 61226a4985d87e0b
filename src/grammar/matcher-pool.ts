import { DEAD } from "./automaton.ts"
import { compileConstraint } from "./compile.ts"
import { type Constraint, constraintKey } from "./constraint.ts"
import { GrammarError } from "./expr.ts"
import type { Masks, NodeTokens } from "./masks.ts"
import type { TokenTrie } from "./token-trie.ts"

export type ToThread =
  /** The first message. @param path The model file, whose tokenizer the thread reads. */
  | { type: "vocabulary"; path: string; nVocab: number }
  /** A text that ends with one of `stop_tokens`, and may have some tokens already. */
  | { type: "open"; id: number; constraint: Constraint; stopTokens: readonly number[]; tokens: readonly number[] }
  | { type: "accept"; id: number; token: number }
  | { type: "close"; id: number }

export type FromThread =
  /** There is no place for a text yet. */
  | { type: "waiting"; id: number }
  /** A text has its place, and its constraint is being compiled where that is new: for a while nothing else is answered. */
  | { type: "begun"; id: number }
  /** Tokens that may come after the first `n_tokens`: bit i % 32 of word i / 32 for token i. [ceil(n_vocab / 32)] */
  | { type: "mask"; id: number; nTokens: number; mask: Uint32Array }
  /** The constraint is at fault. */
  | { type: "refused"; id: number; reason: string }
  /** The thread is. */
  | { type: "failed"; id: number; reason: string }

/** Grammars that are kept compiled, the one used longest ago making way for a new one; texts beyond them wait for a place. */
const MAX_GRAMMARS = 32

interface Grammar {
  masks: Masks
  matchers: Set<MatcherState>
}

interface MatcherState {
  grammar: Grammar
  state: number
  /** Tokens that led to its state. */
  nTokens: number
  stopTokens: readonly number[]
}

type Open = Extract<ToThread, { type: "open" }>

/** The texts of one engine that keep to constraints, and the grammars that they have in common. */
export class MatcherPool {
  /** By what they say, in the order of their last use. */
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

  #open(asked: Open): void {
    const { id, constraint, stopTokens, tokens } = asked
    const key = constraintKey(constraint)
    if (!this.#grammars.has(key) && !this.#makeRoom()) {
      this.#waiting.push(asked)
      this.post({ type: "waiting", id })
      return
    }
    this.post({ type: "begun", id })
    const grammar = this.#grammar(key, constraint)
    const text: MatcherState = { grammar, stopTokens, nTokens: 0, state: grammar.masks.automaton.start() }
    grammar.matchers.add(text)
    this.#matchers.set(id, text)
    for (const token of tokens) this.#advance(text, token)
    this.#sendMask(id, text)
  }

  #accept(id: number, token: number): void {
    const text = this.#matchers.get(id)
    if (!text) return
    this.#advance(text, token)
    this.#sendMask(id, text)
  }

  #close(id: number): void {
    this.#waiting = this.#waiting.filter((asked) => asked.id !== id)
    const text = this.#matchers.get(id)
    if (!text) return
    text.grammar.matchers.delete(text)
    this.#matchers.delete(id)
    if (text.grammar.matchers.size > 0) return
    for (const asked of this.#waiting.splice(0)) this.receive(asked)
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

  #advance(text: MatcherState, token: number): void {
    const { masks, matchers } = text.grammar
    if (masks.automaton.isFull) {
      const kept = [...matchers].map((other) => [other, masks.automaton.snapshot(other.state)] as const)
      masks.forget()
      for (const [other, snapshot] of kept) other.state = masks.automaton.restore(snapshot)
    }
    const state = masks.after(text.state, token)
    if (state === DEAD) throw new Error(`token ${token} was chosen against its constraint`)
    text.state = state
    text.nTokens++
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
