/** Checks of a compiled program, and changes after which every started text can be completed. */

import { GrammarError } from "./expr.ts"
import { Count, END, Kind, type Nodes } from "./nodes.ts"

/** Longer shortest texts are counted with so many bytes. */
const MAX_SHORTEST = 255
/** The length of a text that cannot end. */
const NEVER = 2 ** 30

/**
 * Removes paths that cannot end, and repetitions of no bytes.
 * @throws GrammarError where no text is left, and for left recursion.
 */
export function checkProgram(program: Nodes, root: number, entries: ReadonlyMap<string, number>): void {
  let lengths = shortest(program)
  if (lengths[root] === NEVER) throw new GrammarError("no text of finite length can satisfy the constraint")
  if (countBytes(program, lengths)) lengths = shortest(program)
  prune(program, lengths)
  refuseLeftRecursion(program, entries, lengths)
}

/** [nNodes] bytes of the shortest way to the end of the rule, at most {@link MAX_SHORTEST}, or {@link NEVER}. */
function shortest({ kinds, starts, items, nNodes }: Nodes): Int32Array {
  const lengths = new Int32Array(nNodes).fill(NEVER)
  lengths[END] = 0
  const of = (item: number): number => lengths[items[item] as number] as number
  const sum = (a: number, b: number): number => (a === NEVER || b === NEVER ? NEVER : Math.min(a + b, MAX_SHORTEST))
  const length = (node: number): number => {
    const from = starts[node] as number
    const to = starts[node + 1] as number
    if (kinds[node] === Kind.call) return sum(of(from), of(from + 1))
    if (kinds[node] === Kind.count) {
      const min = items[from + Count.min] as number
      const part = of(from + Count.part)
      return sum(min === 0 ? 0 : part === NEVER ? NEVER : Math.min(part * min, MAX_SHORTEST), of(from + Count.next))
    }
    let least = NEVER
    const isBytes = kinds[node] === Kind.bytes
    for (let i = isBytes ? from + 1 : from; i < to; i += isBytes ? 2 : 1) least = Math.min(least, of(i))
    return isBytes ? sum(1, least) : least
  }
  for (let changed = true, up = true; changed; up = !up) {
    changed = false
    for (let i = 1; i < nNodes; i++) {
      const node = up ? i : nNodes - i
      const found = length(node)
      if (found >= (lengths[node] as number)) continue
      lengths[node] = found
      changed = true
    }
  }
  return lengths
}

/**
 * Makes each repetition of a counted part take at least one byte. A part that may be empty can be repeated any number of times without a
 * byte, so that its least count becomes 0 and its texts those that are not empty. @returns whether nodes were added.
 */
function countBytes(program: Nodes, lengths: Int32Array): boolean {
  const { kinds, starts, items } = program
  const nBefore = program.nNodes
  const made = new Map<number, number>()
  const isEmpty = (node: number): boolean => lengths[node] === 0
  /** A node that continues as `node` does, but only with texts that are not empty. */
  const filled = (node: number): number => {
    const known = made.get(node)
    if (known !== undefined) return known
    if (node !== END && !isEmpty(node)) return node
    const targets = items.slice(starts[node], starts[node + 1])
    const kind = kinds[node]
    const isCall = kind === Kind.call || kind === Kind.count
    const copy = program.add(Kind.jump, kind === Kind.jump ? targets : isCall ? [END, END] : [])
    made.set(node, copy)
    let to: number[] = []
    if (kind === Kind.jump) to = targets.map(filled)
    else if (isCall) {
      const [part = END, next = END, , max = 0, bytes = 0] = targets
      const first = filled(part)
      to = [program.add(kind, kind === Kind.call ? [first, next] : [first, next, 1, max, bytes]), filled(next)]
    }
    for (const [i, target] of to.entries()) items[(starts[copy] as number) + i] = target
    return copy
  }
  for (let node = 1; node < nBefore; node++) {
    if (kinds[node] !== Kind.count) continue
    const from = starts[node] as number
    const part = items[from + Count.part] as number
    if (!isEmpty(part)) continue
    items[from + Count.min] = 0
    items[from + Count.part] = filled(part)
  }
  return program.nNodes > nBefore
}

/**
 * Removes edges to nodes that cannot end: byte ranges become empty, jumps repeat another target, and repetitions become jumps. Tells the
 * others the length of their part.
 */
function prune({ kinds, starts, items, nNodes }: Nodes, lengths: Int32Array): void {
  const ends = (item: number): boolean => lengths[items[item] as number] !== NEVER
  for (let node = 1; node < nNodes; node++) {
    if (lengths[node] === NEVER) continue
    const from = starts[node] as number
    const to = starts[node + 1] as number
    if (kinds[node] === Kind.bytes) {
      for (let i = from; i < to; i += 2) if (!ends(i + 1)) items[i] = 0x0001 // from 1 to 0
    } else if (kinds[node] === Kind.jump) {
      const good = items.slice(from, to).find((target) => lengths[target] !== NEVER) as number
      for (let i = from; i < to; i++) if (!ends(i)) items[i] = good
    } else if (kinds[node] === Kind.count) {
      if (ends(from + Count.part)) items[from + Count.shortest] = lengths[items[from + Count.part] as number] as number
      else {
        kinds[node] = Kind.jump
        items.fill(items[from + Count.next] as number, from, to)
      }
    }
  }
}

function refuseLeftRecursion(
  { kinds, starts, items, nNodes }: Nodes,
  entries: ReadonlyMap<string, number>,
  lengths: Int32Array,
): void {
  /** The nodes reached without a byte: for a call the callee, and what follows it where the callee can be empty. */
  const next = (node: number): readonly number[] => {
    if (kinds[node] === Kind.bytes) return []
    const targets = items.slice(starts[node], starts[node + 1])
    if (kinds[node] === Kind.count) return targets.slice(0, targets[Count.min] === 0 ? 2 : 1)
    return kinds[node] === Kind.call && lengths[targets[0] as number] !== 0 ? targets.slice(0, 1) : targets
  }
  const component = components(nNodes, next)
  for (let node = 1; node < nNodes; node++) {
    if (kinds[node] !== Kind.call && kinds[node] !== Kind.count) continue
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
