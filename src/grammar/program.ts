/** Compiles rules into a flat program: an automaton over bytes whose nodes can call rules, as functions do, and count. */

import { type Expr, GrammarError, type Range, type Rules } from "./expr.ts"
import { END, Kind, Nodes, UNLIMITED } from "./nodes.ts"
import { checkProgram } from "./program-check.ts"
import { utf8 } from "./utf8.ts"

/** Greatest count of a repetition, also of nested ones that are counted as one. */
const MAX_COUNT = UNLIMITED - 1
/** A repetition is copied instead of counted if its copies have about this many nodes or fewer. */
const MAX_COPIED = 32
/** Greatest nesting depth of expressions. */
const MAX_DEPTH = 1000

type Repeat = Extract<Expr, { type: "repeat" }>

/** A counted part: its entry, and the nodes that were made for it. */
interface Part {
  entry: number
  first: number
  end: number
}

export class Program extends Nodes {
  /** By node of a rule that other grammars share: its key in all of them. */
  readonly common = new Map<number, string>()
  /** By rule: its first node. */
  readonly entries = new Map<string, number>()
  readonly root: number
  readonly #maxCopied: number
  /** By count node with a `common` key: the key, and its part. */
  readonly #commonParts = new Map<number, Part & { key: string }>()
  /** Counted parts of the rule that is compiled, if other grammars share it; otherwise of all other rules. */
  #parts = new Map<Expr, Part>()
  #depth = 0

  /**
   * @param maxCopied Most nodes of a repetition that is copied, not counted. The texts are the same.
   * @throws GrammarError for a missing rule, for left recursion, for too many nodes, and where no text can be derived.
   */
  constructor({ bodies, common }: Pick<Rules, "bodies" | "common">, maxCopied = MAX_COPIED) {
    super()
    this.#maxCopied = maxCopied
    for (const name of bodies.keys()) this.entries.set(name, this.#jump([END]))
    for (const [name, body] of bodies) {
      const key = common.get(name)
      const first = this.nNodes
      const parts = this.#parts
      // In all grammars, a shared rule has the same nodes in the same order, so it shares none with other rules.
      if (key !== undefined) this.#parts = new Map()
      this.items[this.starts[this.#entry(name)] as number] = this.#node(body, END)
      this.#parts = parts
      if (key === undefined) continue
      for (let k = first; k < this.nNodes; k++) this.common.set(k, `${key} ${k - first}`)
    }
    this.root = this.#entry("root")
    checkProgram(this, this.root, this.entries)
  }

  /** The key, in all grammars, of a node in the part of a count node; `undefined` where other grammars do not share it. */
  commonIn(count: number, node: number): string | undefined {
    const part = this.#commonParts.get(count)
    if (part && node >= part.first && node < part.end) return `${part.key} ${node - part.first}`
    const [outer, inner] = [this.common.get(count), this.common.get(node)]
    return outer === undefined || inner === undefined ? undefined : `${outer} of ${inner}`
  }

  #entry(name: string): number {
    const entry = this.entries.get(name)
    if (entry === undefined) throw new GrammarError(`there is no rule named '${name}'`)
    return entry
  }

  #jump(targets: readonly number[]): number {
    return this.add(Kind.jump, targets)
  }

  #bytes(edges: readonly (readonly [Range, number])[]): number {
    return this.add(
      Kind.bytes,
      edges.flatMap(([[first, last], target]) => [first | (last << 8), target]),
    )
  }

  /** Compiles an expression that continues at `next`. @returns its first node. */
  #node(expr: Expr, next: number): number {
    if (++this.#depth > MAX_DEPTH)
      throw new GrammarError(`the grammar nests more than ${MAX_DEPTH} deep; use fewer nested groups`)
    const node = this.#nodeOf(expr, next)
    this.#depth--
    return node
  }

  #nodeOf(expr: Expr, next: number): number {
    switch (expr.type) {
      case "text":
        return this.#text(expr.bytes, next)
      case "chars":
        return this.#chars(expr.ranges, next)
      case "sequence":
        return expr.parts.reduceRight((after, part) => this.#node(part, after), next)
      case "choice":
        return this.#jump(expr.parts.map((part) => this.#node(part, next)))
      case "repeat":
        return this.#repeat(flat(expr), next)
      case "rule":
        // Tail call: recursion at the end of a rule needs no stack.
        return next === END ? this.#entry(expr.name) : this.add(Kind.call, [this.#entry(expr.name), next])
      case "free":
        return this.#free(new TextEncoder().encode(expr.mark), this.#node(expr.after, next), expr.mayEnd, next)
    }
  }

  #text(bytes: Uint8Array, next: number): number {
    return bytes.reduceRight((after, byte) => this.add(Kind.bytes, [byte | (byte << 8), after]), next)
  }

  #chars(ranges: readonly Range[], next: number): number {
    // Characters with the same last bytes share nodes.
    const made = new Map<string, number>()
    const after = (rest: readonly Range[]): number => {
      const [range, ...others] = rest
      if (range === undefined) return next
      const key = rest.join()
      const known = made.get(key)
      if (known !== undefined) return known
      const node = this.#bytes([[range, after(others)]])
      made.set(key, node)
      return node
    }
    return this.#bytes(utf8(ranges).map(([first, ...rest]) => [first as Range, after(rest)]))
  }

  #repeat(repeat: Repeat, next: number): number {
    const { part, min, max, common } = repeat
    const most = max ?? min
    if (most > MAX_COUNT) throw new GrammarError(`a count above ${MAX_COUNT} is not supported`)
    if (common === undefined) {
      if (max === undefined && min <= 1) return this.#loop(part, min === 1, next)
      if (most <= 1 || sizeOf(part) * most <= this.#maxCopied) return this.#copies(repeat, next)
    }
    const made = this.#part(part)
    const count = this.add(Kind.count, [made.entry, next, min, max ?? UNLIMITED, 1])
    if (common !== undefined) this.#commonParts.set(count, { ...made, key: common })
    return count
  }

  /** Compiles an unlimited repetition. @param once At least once. */
  #loop(part: Expr, once: boolean, next: number): number {
    const loop = this.#jump([END, next])
    const first = this.#node(part, loop)
    this.items[this.starts[loop] as number] = first
    return once ? first : loop
  }

  #copies({ part, min, max }: Repeat, next: number): number {
    let node = max === undefined ? this.#loop(part, false, next) : next
    for (let i = min; i < (max ?? min); i++) node = this.#jump([this.#node(part, node), next])
    for (let i = 0; i < min; i++) node = this.#node(part, node)
    return node
  }

  /** Compiles a counted part, which returns after each repetition. Repetitions of the same expression share its nodes. */
  #part(part: Expr): Part {
    const known = this.#parts.get(part)
    if (known) return known
    const first = this.nNodes
    const made = { entry: this.#node(part, END), first, end: this.nNodes }
    this.#parts.set(part, made)
    return made
  }

  /** Searches for a mark (Knuth, Morris and Pratt 1977): node i has matched i of its bytes. */
  #free(mark: Uint8Array, found: number, mayEnd: boolean, next: number): number {
    const n = mark.length
    if (n === 0) throw new GrammarError("a mark must not be empty")
    const nodes = Array.from({ length: n }, () => this.#jump([END, ...(mayEnd ? [next] : [])]))
    const edges: (readonly [Range, number])[][] = []
    let back = 0
    for (let i = 0; i < n; i++) {
      const byte = mark[i] as number
      const on = i + 1 === n ? found : (nodes[i + 1] as number)
      const rest = i === 0 ? [[[0, 255] as const, nodes[0] as number] as const] : (edges[back] as (typeof edges)[0])
      edges.push([...rest.flatMap((edge) => cut(edge, byte)), [[byte, byte], on]])
      this.items[this.starts[nodes[i] as number] as number] = this.#bytes(edges[i] as (typeof edges)[0])
      if (i > 0) back = seen(mark, back, byte)
    }
    return nodes[0] as number
  }
}

/** Number of bytes of the mark that match after one more byte, when `i` matched before. */
function seen(mark: Uint8Array, i: number, byte: number): number {
  for (let n = i + 1; n > 0; n--) {
    const fits = mark[n - 1] === byte && mark.subarray(0, n - 1).every((b, k) => b === mark[i - n + 1 + k])
    if (fits) return n
  }
  return 0
}

function cut([[first, last], target]: readonly [Range, number], byte: number): (readonly [Range, number])[] {
  if (byte < first || byte > last) return [[[first, last], target]]
  const parts: (readonly [Range, number])[] = []
  if (first < byte) parts.push([[first, byte - 1], target])
  if (last > byte) parts.push([[byte + 1, last], target])
  return parts
}

/** Estimated number of nodes, capped a little above `MAX_COPIED`. */
function sizeOf(expr: Expr): number {
  const large = MAX_COPIED + 1
  if (expr.type === "text") return expr.bytes.length
  if (expr.type === "chars") {
    const [, last] = expr.ranges.at(-1) ?? [0, 0]
    return last < 0x80 ? 1 : expr.ranges.length > 8 ? large : 8
  }
  if (expr.type === "rule") return 1
  if (expr.type === "free") return large
  if (expr.type === "repeat") return Math.min(large, sizeOf(expr.part) * Math.max(expr.max ?? 1, expr.min, 1) + 1)
  let size = 1
  for (const part of expr.parts) {
    size += sizeOf(part)
    if (size > MAX_COPIED) break
  }
  return size
}

/** Counts a repetition of repetitions as one, where each number of repetitions between the products of the bounds is possible. */
function flat(repeat: Repeat): Repeat {
  const { part: inner, min, max } = repeat
  if (inner.type !== "repeat" || repeat.common !== undefined || inner.common !== undefined) return repeat
  const { part, min: low, max: high } = flat(inner)
  // n repetitions give low * n to high * n. Nothing is missing before low * (n + 1); the gap would be the widest at the least n.
  if (max !== min && low * (min + 1) > (min === 0 ? 0 : (high ?? Number.POSITIVE_INFINITY) * min) + 1) return repeat
  const most = max === 0 || high === 0 ? 0 : max === undefined || high === undefined ? undefined : max * high
  return Math.max(min * low, most ?? 0) > MAX_COUNT ? repeat : { type: "repeat", part, min: min * low, max: most }
}
