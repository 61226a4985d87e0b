/** Compiles rules into a flat program: an automaton over bytes whose nodes can call rules, as functions do. */

import { type Expr, GrammarError, type Range, type Rules } from "./expr.ts"
import { utf8 } from "./utf8.ts"

/** What a node does. Its items are its part of `Program.items`. */
export const Kind = {
  /** Returns to the caller, or ends the text. */
  end: 0,
  /** Accepts a byte. Items: [n, 2] first | last << 8, and the next node. */
  bytes: 1,
  /** Continues at any of its items. */
  jump: 2,
  /** Continues at the first item, and after its end at the second. */
  call: 3,
} as const

/** Most nodes of a program. A node takes about 30 bytes. */
const MAX_NODES = 200_000
/** A repeated part of more nodes becomes a rule that each repetition calls. */
const LARGE = 24
/** Greatest nesting depth of expressions. */
const MAX_DEPTH = 1000

const END = 0

/** A node that accepts the same tokens of up to `nBytes` bytes as another. */
interface Unlimited {
  node: number
  nBytes: number
}

export class Program {
  readonly kinds: number[] = [Kind.end]
  /** [nNodes + 1] where each node's items begin. */
  readonly starts: number[] = [0, 0]
  readonly items: number[] = []
  /** By node of a limited repetition: its counterpart in the unlimited repetition. */
  readonly alike = new Map<number, Unlimited>()
  /** By node of a rule that other grammars share: its key in all of them. */
  readonly common = new Map<number, string>()
  /** By rule: its first node. */
  readonly entries = new Map<string, number>()
  readonly root: number
  #depth = 0

  /**
   * @throws GrammarError for a missing rule, for left recursion, for more than {@link MAX_NODES} nodes, and where no text can be derived.
   */
  constructor({ bodies, common }: Pick<Rules, "bodies" | "common">) {
    for (const name of bodies.keys()) this.entries.set(name, this.#jump([END]))
    for (const [name, body] of bodies) {
      const first = this.nNodes
      this.items[this.starts[this.#entry(name)] as number] = this.#node(body, END)
      const key = common.get(name)
      if (key !== undefined) this.#share(key, first)
    }
    this.root = this.#entry("root")
    checkProgram(this)
  }

  get nNodes(): number {
    return this.kinds.length
  }

  #entry(name: string): number {
    const entry = this.entries.get(name)
    if (entry === undefined) throw new GrammarError(`there is no rule named '${name}'`)
    return entry
  }

  /** Gives the nodes from `first` on their shared keys. */
  #share(key: string, first: number): void {
    for (let k = first; k < this.nNodes; k++) this.common.set(k, `${key} ${k - first}`)
  }

  #add(kind: number, items: readonly number[]): number {
    if (this.kinds.length >= MAX_NODES) {
      throw new GrammarError(`the grammar has more than ${MAX_NODES} nodes; use smaller counts, or fewer alternatives`)
    }
    for (const item of items) this.items.push(item)
    this.starts.push(this.items.length)
    return this.kinds.push(kind) - 1
  }

  #jump(targets: readonly number[]): number {
    return this.#add(Kind.jump, targets)
  }

  #bytes(edges: readonly (readonly [Range, number])[]): number {
    return this.#add(
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
        return this.#repeat(expr, next)
      case "rule":
        // Tail call: recursion at the end of a rule needs no stack.
        return next === END ? this.#entry(expr.name) : this.#add(Kind.call, [this.#entry(expr.name), next])
      case "free":
        return this.#free(new TextEncoder().encode(expr.mark), this.#node(expr.after, next), expr.mayEnd, next)
    }
  }

  #text(bytes: Uint8Array, next: number): number {
    return bytes.reduceRight((after, byte) => this.#bytes([[[byte, byte], after]]), next)
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

  #repeat({ part, min, max, common }: Extract<Expr, { type: "repeat" }>, next: number): number {
    const once = this.#unit(part, Math.max(min, max ?? 0))
    if (max === undefined) return this.#times(min, this.#loop(once, next) - 1, once)
    let node = next
    const limit = max - min
    const unlimited = limit > 1 ? this.#loop(once, next) : this.nNodes
    if (common !== undefined) this.#share(common, unlimited)
    for (let left = 1; left <= limit; left++) {
      const first = this.nNodes
      node = this.#jump([once(node), next])
      // Every repetition accepts at least one byte. The last one before the end of a rule may be compiled differently.
      if (limit === 1 || (left === 1 && next === END)) continue
      for (let k = first; k < this.nNodes - 1; k++) {
        this.alike.set(k, { node: unlimited + k - first, nBytes: left })
      }
    }
    return this.#times(min, node, once)
  }

  /** Compiles an unlimited repetition. @returns its first node. */
  #loop(once: (next: number) => number, next: number): number {
    const loop = this.#jump([END, next])
    const first = this.nNodes
    this.items[this.starts[loop] as number] = once(loop)
    return first
  }

  /** Compiles `n` repetitions before `next`. */
  #times(n: number, next: number, once: (next: number) => number): number {
    let node = next
    for (let i = 0; i < n; i++) node = once(node)
    return node
  }

  /** Compiles a repeated part: as copies, or as calls where copies would be large. */
  #unit(part: Expr, copies: number): (next: number) => number {
    if (copies < 2 || sizeOf(part) <= LARGE) return (next) => this.#node(part, next)
    const entry = this.#jump([END])
    this.items[this.starts[entry] as number] = this.#node(part, END)
    return (next) => this.#add(Kind.call, [entry, next])
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

/** Estimated number of nodes, capped a little above `LARGE`. */
function sizeOf(expr: Expr): number {
  if (expr.type === "text") return expr.bytes.length
  if (expr.type === "chars") return expr.ranges.length > 8 ? LARGE + 1 : 8
  if (expr.type === "rule") return 1
  if (expr.type === "free") return LARGE + 1
  if (expr.type === "repeat") return sizeOf(expr.part) * Math.max(expr.max ?? 1, expr.min, 1) + 1
  let size = 1
  for (const part of expr.parts) {
    size += sizeOf(part)
    if (size > LARGE) break
  }
  return size
}

/**
 * Removes paths that cannot end, so that every started text can be completed.
 * @throws GrammarError where no text is left, and for left recursion.
 */
function checkProgram(program: Program): void {
  const ends = canEnd(program)
  if (ends[program.root] === 0) throw new GrammarError("no text of finite length can satisfy the constraint")
  prune(program, ends)
  refuseLeftRecursion(program, emptiness(program))
}

/** [nNodes] 1 for nodes from which the end of the rule can be reached. */
const canEnd = (program: Program): Uint8Array =>
  fixpoint(program, (node, is) => {
    const { kinds, starts, items } = program
    const from = starts[node] as number
    const to = starts[node + 1] as number
    if (kinds[node] === Kind.call) return is(items[from] as number) && is(items[from + 1] as number)
    const isBytes = kinds[node] === Kind.bytes
    for (let i = from; i < to; i += isBytes ? 2 : 1) if (is(items[isBytes ? i + 1 : i] as number)) return true
    return false
  })

/** [nNodes] 1 for nodes from which the end of the rule can be reached without a byte. */
const emptiness = (program: Program): Uint8Array =>
  fixpoint(program, (node, is) => {
    const { kinds, starts, items } = program
    if (kinds[node] === Kind.bytes) return false
    const targets = items.slice(starts[node], starts[node + 1])
    return kinds[node] === Kind.call ? targets.every(is) : targets.some(is)
  })

/** The least set of nodes that contains the end and is closed under `holds`. */
function fixpoint({ nNodes }: Program, holds: (node: number, is: (node: number) => boolean) => boolean): Uint8Array {
  const set = new Uint8Array(nNodes)
  set[END] = 1
  const is = (node: number): boolean => set[node] === 1
  for (let changed = true, up = true; changed; up = !up) {
    changed = false
    for (let i = 1; i < nNodes; i++) {
      const node = up ? i : nNodes - i
      if (set[node] === 1 || !holds(node, is)) continue
      set[node] = 1
      changed = true
    }
  }
  return set
}

/** Removes edges to nodes that cannot end: their byte ranges become empty, and their jumps repeat another target. */
function prune({ kinds, starts, items, nNodes }: Program, ends: Uint8Array): void {
  for (let node = 1; node < nNodes; node++) {
    if (ends[node] === 0) continue
    const from = starts[node] as number
    const to = starts[node + 1] as number
    if (kinds[node] === Kind.bytes) {
      for (let i = from; i < to; i += 2) if (ends[items[i + 1] as number] === 0) items[i] = 0x0001 // from 1 to 0
    } else if (kinds[node] === Kind.jump) {
      const good = items.slice(from, to).find((target) => ends[target] === 1) as number
      for (let i = from; i < to; i++) if (ends[items[i] as number] === 0) items[i] = good
    }
  }
}

function refuseLeftRecursion({ kinds, starts, items, entries, nNodes }: Program, empty: Uint8Array): void {
  /** The nodes reached without a byte: for a call the callee, and what follows it where the callee can be empty. */
  const next = (node: number): readonly number[] => {
    if (kinds[node] === Kind.bytes) return []
    const targets = items.slice(starts[node], starts[node + 1])
    return kinds[node] === Kind.call && empty[targets[0] as number] === 0 ? targets.slice(0, 1) : targets
  }
  const component = components(nNodes, next)
  for (let node = 1; node < nNodes; node++) {
    if (kinds[node] !== Kind.call) continue
    const callee = items[starts[node] as number] as number
    if (component[node] !== component[callee]) continue
    const name = [...entries].find(([, entry]) => component[entry] === component[node])?.[0] ?? ""
    throw new GrammarError(`the rule '${name}' calls itself before any character; put a character first`)
  }
}

/** [nNodes] each node's strongly connected component (Tarjan 1972). */
function components(nNodes: number, next: (node: number) => readonly number[]): Int32Array {
  const component = new Int32Array(nNodes).fill(-1)
  const index = new Int32Array(nNodes)
  const low = new Int32Array(nNodes)
  const open: number[] = []
  const path: { node: number; next: readonly number[]; at: number }[] = []
  let nSeen = 0
  const enter = (node: number): void => {
    index[node] = low[node] = ++nSeen
    open.push(node)
    path.push({ node, next: next(node), at: 0 })
  }
  for (let start = 0; start < nNodes; start++) {
    if (index[start] === 0) enter(start)
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const { node } = top
      const to = top.next[top.at++]
      if (to === undefined) {
        path.pop()
        const before = path.at(-1)
        if (before) low[before.node] = Math.min(low[before.node] as number, low[node] as number)
        if (low[node] !== index[node]) continue
        while ((component[node] as number) < 0) component[open.pop() as number] = node
      } else if (index[to] === 0) enter(to)
      else if ((component[to] as number) < 0) low[node] = Math.min(low[node] as number, index[to] as number)
    }
  }
  return component
}
