/** What the engine and the thread that follows constrained texts say to each other. */

import type { Constraint } from "./constraint.ts"

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
