/** The scheduler: which tokens of which sequences each step computes. */

import { BLOCK_SIZE } from "../native/abi.ts"
import { type BlockPool, blocksFor } from "./blocks.ts"
import { type StepCost, smallestChunk } from "./cost.ts"
import { FairShare } from "./fair-share.ts"
import type { Sequence } from "./sequence.ts"

/** Consecutive tokens of one sequence that a step computes. */
export interface ScheduledChunk {
  sequence: Sequence
  /** Number of tokens: the first ones whose K and V are not in the sequence's blocks. */
  length: number
  /** Whether the last token's logits give the next token: the chunk reaches the sequence's end, and the request generates. */
  samples: boolean
  /** Drafted tokens that follow. The step verifies them: each one accepted yields one more token. */
  draft: readonly number[]
}

export interface SchedulerLimits {
  /** Tokens of one step at most. At least `maxSeqs`. */
  maxTokens: number
  /** Prompt tokens of one step at most while other sequences decode. Fewer late in a long prompt, down to a quarter. */
  chunkTokens: number
  /** Relative cost of a prompt token after `context` tokens; 1 for the first token. Keeps the time of a chunk about constant. */
  tokenCost(context: number): number
  /** Sequences that run at the same time. */
  maxSeqs: number
  /** Drafted tokens of one step at most; 0 turns drafting off. */
  maxDrafted: number
}

/**
 * Decides what each step computes. Decoding sequences come first and prompts join them in chunks, so a prompt delays a decoding sequence by
 * one chunk at most. When blocks run out, the running sequence that is last by `rank` is preempted: it releases its blocks and is computed
 * again later. The first by `rank` is never preempted, and the pool has blocks for any one request, so every request finishes.
 */
export class Scheduler {
  readonly waiting: Sequence[] = []
  /** Ordered by `rank`. */
  readonly running: Sequence[] = []
  nPreemptions = 0
  prefixQueryTokens = 0
  prefixHitTokens = 0
  promptTokens = 0
  readonly #pool: BlockPool
  readonly #cost: Pick<StepCost, "leastAcceptance">
  readonly #fair = new FairShare()

  constructor(
    readonly limits: SchedulerLimits,
    pool: BlockPool,
    cost: Pick<StepCost, "leastAcceptance">,
  ) {
    this.#pool = pool
    this.#cost = cost
  }

  /** Number of requests without a sequence that has begun. */
  get nQueued(): number {
    return this.waiting.reduce((n, { index, owner }) => n + (index === 0 && owner.started === undefined ? 1 : 0), 0)
  }

  add(sequence: Sequence): void {
    this.waiting.push(sequence)
    this.#fair.enter(sequence.key)
  }

  /** Removes a sequence from the queue or from those that run, and releases its blocks. @returns false when it had ended before. */
  remove(sequence: Sequence): boolean {
    if (sequence.state === "ended") return false
    take(sequence.state === "running" ? this.running : this.waiting, sequence)
    sequence.state = "ended"
    sequence.blocks.release()
    sequence.matcher?.close()
    this.#fair.leave(sequence.key)
    return true
  }

  /** Records that a step computed `n` more tokens of a sequence. Tokens computed again after a preemption are not charged again. */
  advance(sequence: Sequence, n: number): void {
    this.#fair.charge(sequence.key, sequence.advance(n))
  }

  /** How many running sequences have their token mask: `all`, `some` (or a waiting one is ready), or `none`. */
  get masks(): "all" | "some" | "none" {
    const nReady = this.running.reduce((n, { ready }) => n + (ready ? 1 : 0), 0)
    if (nReady === this.running.length) return "all"
    return nReady > 0 || this.waiting.some(({ ready }) => ready) ? "some" : "none"
  }

  /** The chunks of the next step; empty when there is nothing to do, or masks are missing. Allocates the blocks that they need. */
  schedule(): ScheduledChunk[] {
    this.#admit()
    const chunks = this.#decode()
    this.#prefill(chunks)
    const stuck = chunks.length === 0 && this.waiting.some(({ ready }) => ready)
    if (stuck && this.running.every(({ ready }) => ready)) throw new RangeError("sequences wait, but none can run")
    return chunks
  }

  /** One more token for each sequence whose other tokens are computed, in the order of `rank`. */
  #decode(): ScheduledChunk[] {
    const { maxTokens, chunkTokens, maxDrafted } = this.limits
    const chunks: ScheduledChunk[] = []
    const nDecoding = this.running.filter(({ nPending }) => nPending === 1).length
    // Prompts take precedence over drafts.
    const nPrefill = nDecoding < this.running.length ? chunkTokens : 0
    let budget = Math.min(maxDrafted, maxTokens - nDecoding - nPrefill)
    for (const sequence of [...this.running]) {
      // A sequence before this one may have preempted it.
      if (sequence.state !== "running" || sequence.nPending > 1 || !sequence.ready) continue
      if (!this.#grow(sequence)) continue
      // Under a constraint, the mask after a drafted token is known only once that token was chosen; so are the states of some samplers.
      const drafts = budget > 0 && !sequence.isPrefillOnly && !sequence.matcher && sequence.sampler.draftable
      const draft = drafts ? this.#draft(sequence, budget, nDecoding) : []
      budget -= draft.length
      chunks.push({ sequence, length: 1, samples: !sequence.isPrefillOnly, draft })
    }
    return chunks
  }

  /** As many drafted tokens as the sequence's blocks hold. Allocates further blocks where plenty are free. */
  #draft(sequence: Sequence, budget: number, nDecoding: number): readonly number[] {
    const { nCached, nTokens, blocks, output, maxOutput } = sequence
    const least = this.#cost.leastAcceptance(nDecoding)
    const draft = sequence.speculator.propose(nTokens, Math.min(budget, maxOutput - output.length - 1), least)
    const room = () => blocks.ids.length * BLOCK_SIZE - nCached - 1
    if (draft.length > room() && this.#pool.nFree > this.running.length) blocks.grow(nCached + 1 + draft.length)
    return draft.length > room() ? draft.slice(0, room()) : draft
  }

  /** Adds chunks of prompts, and of preempted sequences that are computed again, to those of the decoding sequences. */
  #prefill(chunks: ScheduledChunk[]): void {
    const { maxTokens, chunkTokens, tokenCost, maxSeqs, maxDrafted } = this.limits
    const prefilling = this.running.filter(({ nPending, ready }) => nPending > 1 && ready)
    const beside = chunks.length > 0
    let tokens = chunks.reduce((left, { draft }) => left - 1 - draft.length, maxTokens)
    let work = beside ? chunkTokens : maxTokens
    let least = beside ? smallestChunk(chunkTokens) : 0
    // Each token of a scored text is an output; every running sequence has one.
    let outputs = chunks.reduce((left, { draft }) => left - draft.length, maxSeqs + maxDrafted - this.running.length)
    for (const sequence of prefilling.sort((a, b) => this.#compare(a, b))) {
      // Another sequence may have computed the same tokens since this one began.
      sequence.matchPrefix()
      this.#skipMatched(sequence)
      const cost = beside ? tokenCost(sequence.nCached) : 1
      const scored = sequence.request.targets !== undefined
      const most = scored ? Math.min(tokens, 1 + outputs) : tokens
      const length = Math.min(sequence.nPending, most, Math.max(Math.floor(work / cost), least))
      if (length < 1) return
      if (scored) outputs -= length - 1
      tokens -= length
      work -= length * cost
      least = 0
      chunks.push({ sequence, length, samples: length === sequence.nPending && !sequence.isPrefillOnly, draft: [] })
    }
  }

  /** Allocates a block for one more token, preempting the last by `rank` where needed. @returns false when it preempted `sequence` itself. */
  #grow(sequence: Sequence): boolean {
    while (!sequence.blocks.grow(sequence.nCached + 1)) {
      const last = this.running.at(-1) as Sequence
      this.#preempt(last)
      if (last === sequence) return false
    }
    return true
  }

  /** Returns a sequence to the queue. Its full blocks stay in the prefix cache until they are evicted. */
  #preempt(sequence: Sequence): void {
    take(this.running, sequence)
    sequence.state = "waiting"
    sequence.blocks.release()
    sequence.nCached = 0
    this.waiting.push(sequence)
    this.nPreemptions++
  }

  /** Admits in order. A request that does not fit blocks those after it; otherwise large requests would starve. */
  #admit(): void {
    for (;;) {
      const next = this.#next()
      if (!next || !this.#makeRoom(next)) return
      take(this.waiting, next)
      next.state = "running"
      const at = this.running.findIndex((other) => rank(next, other) < 0)
      this.running.splice(at < 0 ? this.running.length : at, 0, next)
      this.#begin(next)
    }
  }

  /** The ready sequence that is served next. A request's other sequences wait until its first one has computed the prompt. */
  #next(): Sequence | undefined {
    let best: Sequence | undefined
    for (const sequence of this.waiting) {
      if (!sequence.ready || (sequence.index > 0 && !sequence.owner.promptDone)) continue
      if (!best || this.#compare(sequence, best) < 0) best = sequence
    }
    return best
  }

  /**
   * Needs a free slot, blocks for all tokens of `next`, and one spare block per running sequence, so that admitting it does not preempt one
   * immediately. Preempts sequences of lower priority.
   */
  #makeRoom(next: Sequence): boolean {
    next.matchPrefix()
    for (;;) {
      const missing = blocksFor(next.nTokens) - next.blocks.ids.length
      if (this.running.length < this.limits.maxSeqs && missing + this.running.length <= this.#pool.nFree) {
        return next.blocks.grow(next.nTokens)
      }
      const last = this.running.at(-1)
      if (!last || last.priority <= next.priority) {
        next.blocks.release()
        return false
      }
      this.#preempt(last)
    }
  }

  #begin(sequence: Sequence): void {
    const { owner, request } = sequence
    if (owner.started === undefined) {
      owner.started = owner.clock.now()
      this.promptTokens += request.tokens.length
      if (this.#pool.prefixes.keep && !sequence.isPrefillOnly) this.prefixQueryTokens += request.tokens.length
    }
    this.#skipMatched(sequence)
  }

  #skipMatched(sequence: Sequence): void {
    const saved = sequence.skipMatched()
    if (sequence.index === 0) this.prefixHitTokens += saved
  }

  /** Compares two sequences by when they are served: by priority, then the owner that got least, then arrival. */
  #compare(a: Sequence, b: Sequence): number {
    return a.priority - b.priority || this.#fair.served(a.key) - this.#fair.served(b.key) || a.arrival - b.arrival
  }
}

/** Compares two sequences: the first in this order keeps its blocks longest. Constant while they run, so they cannot preempt each other in turns. */
const rank = (a: Sequence, b: Sequence): number => a.priority - b.priority || a.arrival - b.arrival

function take(list: Sequence[], sequence: Sequence): void {
  const at = list.indexOf(sequence)
  if (at >= 0) list.splice(at, 1)
}
