import { BLOCK_SIZE } from "../native/abi.ts"
import { type BlockPool, blocksFor } from "./blocks.ts"
import type { StepCost } from "./cost.ts"
import { FairShare } from "./fair-share.ts"
import type { Sequence } from "./sequence.ts"

/** A stretch of one sequence that a step computes. */
export interface Slice {
  sequence: Sequence
  /** Rows of the step: the first `n_rows` tokens that the model has not seen. */
  nRows: number
  /** The slice reaches the sequence's end, so that its last row's logits give the next token (of what is only read none is wanted). */
  samples: boolean
  /** Guesses of the tokens after it, a row each: the logits there give one token more for every guess that comes true. */
  draft: readonly number[]
}

export interface SchedulerLimits {
  /** Tokens of one step at most, at least `max_seqs`. */
  maxTokens: number
  /** Prompt tokens of one step at most while other sequences decode; fewer behind a long text, down to a quarter. */
  chunkTokens: number
  /** What a prompt's row costs behind `context` tokens, in rows at the beginning of a text: a chunk is to take no longer there. */
  rowCost(context: number): number
  /** Sequences that run together. */
  maxSeqs: number
  /** Guessed tokens of one step at most; 0: none. */
  maxDrafted: number
}

/**
 * Decides what each step computes. Sequences that decode come first, so that a prompt, in chunks beside them, never holds them up for
 * longer than a chunk. When blocks run out, the sequence that keeps its place least (`rank`) gives its blocks back and waits to be
 * computed again. The one that keeps its place most is never asked to, and the whole pool holds any request: it always gets to its end.
 */
export class Scheduler {
  readonly waiting: Sequence[] = []
  /** In the order of their claim to their blocks: by priority, then by arrival. */
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

  /** Requests of which no choice has begun. */
  get nQueued(): number {
    return this.waiting.reduce((n, { index, owner }) => n + (index === 0 && owner.started === undefined ? 1 : 0), 0)
  }

  add(sequence: Sequence): void {
    this.waiting.push(sequence)
    this.#fair.enter(sequence.key)
  }

  /** Takes a sequence out, wherever it is, and frees its blocks. False when it had ended before. */
  remove(sequence: Sequence): boolean {
    if (sequence.state === "ended") return false
    take(sequence.state === "running" ? this.running : this.waiting, sequence)
    sequence.state = "ended"
    sequence.blocks.release()
    sequence.matcher?.close()
    this.#fair.leave(sequence.key)
    return true
  }

  /** A step computed `n` more tokens of a sequence. What was lost by preemption is not charged twice. */
  advance(sequence: Sequence, n: number): void {
    this.#fair.charge(sequence.key, sequence.advance(n))
  }

  /** Whose masks have come of the sequences that run: all, some (or others can begin), or none. */
  get masks(): "all" | "some" | "none" {
    const nReady = this.running.reduce((n, { ready }) => n + (ready ? 1 : 0), 0)
    if (nReady === this.running.length) return "all"
    return nReady > 0 || this.waiting.some(({ ready }) => ready) ? "some" : "none"
  }

  /** The next step; empty when there is nothing to do, or masks have to come first. Blocks for its tokens are taken. */
  schedule(): Slice[] {
    this.#admit()
    const slices = this.#decode()
    this.#read(slices)
    const stuck = slices.length === 0 && this.waiting.some(({ ready }) => ready)
    if (stuck && this.running.every(({ ready }) => ready)) throw new RangeError("sequences wait, and none can run")
    return slices
  }

  /** One token more for each sequence that has read all others, in the order of their claims. */
  #decode(): Slice[] {
    const { maxTokens, chunkTokens, maxDrafted } = this.limits
    const slices: Slice[] = []
    const nDecoding = this.running.filter(({ nPending }) => nPending === 1).length
    // Prompts go before guesses.
    const nReading = nDecoding < this.running.length ? chunkTokens : 0
    let budget = Math.min(maxDrafted, maxTokens - nDecoding - nReading)
    for (const sequence of [...this.running]) {
      // Taken from the end by those before it: then it is not running any more.
      if (sequence.state !== "running" || sequence.nPending > 1 || !sequence.ready) continue
      if (!this.#grow(sequence)) continue
      // Under a constraint, what may follow a guess is not known before it came true.
      const drafts = budget > 0 && !sequence.reads && !sequence.matcher
      const draft = drafts ? this.#draft(sequence, budget, nDecoding) : []
      budget -= draft.length
      slices.push({ sequence, nRows: 1, samples: !sequence.reads, draft })
    }
    return slices
  }

  /** As many guesses as the sequence's blocks have room for; blocks that nobody misses are taken for them too. */
  #draft(sequence: Sequence, budget: number, nDecoding: number): readonly number[] {
    const { nCached, nTokens, blocks, output, maxOutput } = sequence
    const least = this.#cost.leastAcceptance(nDecoding)
    const draft = sequence.speculator.propose(nTokens, Math.min(budget, maxOutput - output.length - 1), least)
    const room = () => blocks.ids.length * BLOCK_SIZE - nCached - 1
    if (draft.length > room() && this.#pool.free > this.running.length) blocks.grow(nCached + 1 + draft.length)
    return draft.length > room() ? draft.slice(0, room()) : draft
  }

  /** Prompts, and what preempted sequences have to read again, beside the sequences that decode. */
  #read(slices: Slice[]): void {
    const { maxTokens, chunkTokens, rowCost, maxSeqs, maxDrafted } = this.limits
    const reading = this.running.filter(({ nPending, ready }) => nPending > 1 && ready)
    const beside = slices.length > 0
    let rows = slices.reduce((left, { draft }) => left - 1 - draft.length, maxTokens)
    let work = beside ? chunkTokens : maxTokens
    let least = beside ? Math.ceil(chunkTokens / 4) : 0
    // Each row of a text that is scored is an output; every sequence that runs has one.
    let outputs = slices.reduce((left, { draft }) => left - draft.length, maxSeqs + maxDrafted - this.running.length)
    for (const sequence of reading.sort((a, b) => this.#turn(a, b))) {
      // Another sequence may have computed the same text since this one began.
      sequence.adopt()
      this.#skipAdopted(sequence)
      const cost = beside ? rowCost(sequence.nCached) : 1
      const scored = sequence.request.targets !== undefined
      const most = scored ? Math.min(rows, 1 + outputs) : rows
      const nRows = Math.min(sequence.nPending, most, Math.max(Math.floor(work / cost), least))
      if (nRows < 1) return
      if (scored) outputs -= nRows - 1
      rows -= nRows
      work -= nRows * cost
      least = 0
      slices.push({ sequence, nRows, samples: nRows === sequence.nPending && !sequence.reads, draft: [] })
    }
  }

  /** Room for one more token, at the cost of those with less of a claim; false when that is the sequence itself. */
  #grow(sequence: Sequence): boolean {
    while (!sequence.blocks.grow(sequence.nCached + 1)) {
      const last = this.running.at(-1) as Sequence
      this.#preempt(last)
      if (last === sequence) return false
    }
    return true
  }

  /** Its full blocks stay in the prefix cache while nobody needs the room. */
  #preempt(sequence: Sequence): void {
    take(this.running, sequence)
    sequence.state = "waiting"
    sequence.blocks.release()
    sequence.nCached = 0
    this.waiting.push(sequence)
    this.nPreemptions++
  }

  /** In turn: one that does not fit keeps those behind it waiting, or it would wait for ever. */
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

  /** The one whose turn it is. A request's other choices come when its prompt is computed. */
  #next(): Sequence | undefined {
    let best: Sequence | undefined
    for (const sequence of this.waiting) {
      if (!sequence.ready || (sequence.index > 0 && !sequence.owner.promptDone)) continue
      if (!best || this.#turn(sequence, best) < 0) best = sequence
    }
    return best
  }

  /**
   * A place and blocks for all its tokens, and one block more for each that runs, so that its coming does not cost another its blocks
   * at once. Sequences of a lower priority make way.
   */
  #makeRoom(next: Sequence): boolean {
    next.adopt()
    for (;;) {
      const missing = blocksFor(next.nTokens) - next.blocks.ids.length
      if (this.running.length < this.limits.maxSeqs && missing + this.running.length <= this.#pool.free) {
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
      owner.started = performance.now()
      this.promptTokens += request.tokens.length
      if (this.#pool.prefixes.keep && !sequence.reads) this.prefixQueryTokens += request.tokens.length
    }
    this.#skipAdopted(sequence)
  }

  #skipAdopted(sequence: Sequence): void {
    const saved = sequence.skipAdopted()
    if (sequence.index === 0) this.prefixHitTokens += saved
  }

  /** Who is served first. */
  #turn(a: Sequence, b: Sequence): number {
    return a.priority - b.priority || this.#fair.served(a.key) - this.#fair.served(b.key) || a.arrival - b.arrival
  }
}

/** Who keeps its blocks first. It does not change while sequences run, so that they do not take blocks from each other in turns. */
const rank = (a: Sequence, b: Sequence): number => a.priority - b.priority || a.arrival - b.arrival

function take(list: Sequence[], sequence: Sequence): void {
  const at = list.indexOf(sequence)
  if (at >= 0) list.splice(at, 1)
}
