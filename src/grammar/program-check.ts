/** Checks of a compiled program, and changes after which every started text can be completed. */

import { GrammarError } from "./expr.ts"
import { Count, END, Kind, type Nodes } from "./nodes.ts"

/** The length of a shortest text is capped at this many bytes. */
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

/**
 * [nNodes] bytes of the shortest way to the end of the rule, at most {@link MAX_SHORTEST}, or {@link NEVER}. Nodes are finished in the order
 * of their lengths, as Knuth (1977) generalizes Dijkstra's algorithm to grammars.
 */
function shortest(program: Nodes): Int32Array {
  const { kinds, starts, items, nNodes } = program
  const users = usersOf(program)
  const lengths = new Int32Array(nNodes).fill(NEVER)
  const byLength: number[][] = Array.from({ length: MAX_SHORTEST + 1 }, () => [])
  const found = (node: number, length: number): void => {
    const most = Math.min(length, MAX_SHORTEST)
    if (most >= (lengths[node] as number)) return
    lengths[node] = most
    byLength[most]?.push(node)
  }
  found(END, 0)
  for (const [length, nodes] of byLength.entries()) {
    for (let k = 0; k < nodes.length; k++) {
      const node = nodes[k] as number
      if (lengths[node] !== length) continue // found again with a smaller length
      for (let i = users.starts[node] as number; i < (users.starts[node + 1] as number); i++) {
        const user = users.list[i] as number
        const from = starts[user] as number
        if (kinds[user] === Kind.bytes) found(user, length + 1)
        else if (kinds[user] === Kind.jump) found(user, length)
        else {
          const first = lengths[items[from] as number] as number
          const next = lengths[items[from + 1] as number] as number
          const times = kinds[user] === Kind.count ? (items[from + Count.min] as number) : 1
          if (next !== NEVER && (times === 0 || first !== NEVER)) found(user, (times === 0 ? 0 : first * times) + next)
        }
      }
    }
  }
  return lengths
}

/** For each node, the nodes that continue at it: `list` from `starts[node]` to `starts[node + 1]`. */
function usersOf({ kinds, starts, items, nNodes }: Nodes): { starts: Int32Array; list: Int32Array } {
  const ends = new Int32Array(nNodes + 1)
  const each = (use: (target: number, node: number) => void): void => {
    for (let node = 1; node < nNodes; node++) {
      const from = starts[node] as number
      const isBytes = kinds[node] === Kind.bytes
      const to = kinds[node] === Kind.count ? from + 2 : (starts[node + 1] as number)
      for (let i = isBytes ? from + 1 : from; i < to; i += isBytes ? 2 : 1) use(items[i] as number, node)
    }
  }
  each((target) => {
    ends[target + 1] = (ends[target + 1] as number) + 1
  })
  for (let node = 0; node < nNodes; node++) ends[node + 1] = (ends[node + 1] as number) + (ends[node] as number)
  const first = ends.slice()
  const list = new Int32Array(ends[nNodes] as number)
  each((target, node) => {
    const at = first[target] as number
    list[at] = node
    first[target] = at + 1
  })
  return { starts: ends, list }
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
  /** End of the items that are nodes reached without a byte: for a call the callee, and what follows it where the callee can be empty. */
  const end = (node: number): number => {
    const from = starts[node] as number
    if (kinds[node] === Kind.bytes) return from
    if (kinds[node] === Kind.count) return from + (items[from + Count.min] === 0 ? 2 : 1)
    if (kinds[node] === Kind.call && lengths[items[from] as number] !== 0) return from + 1
    return starts[node + 1] as number
  }
  const component = components(nNodes, starts, items, end)
  for (let node = 1; node < nNodes; node++) {
    if (kinds[node] !== Kind.call && kinds[node] !== Kind.count) continue
    const callee = items[starts[node] as number] as number
    if (component[node] !== component[callee]) continue
    const name = [...entries].find(([, entry]) => component[entry] === component[node])?.[0] ?? ""
    throw new GrammarError(`the rule '${name}' calls itself before any character; put a character first`)
  }
}

/** [nNodes] each node's strongly connected component (Tarjan 1972). A node's edges are `targets` from `starts[node]` to `end(node)`. */
function components(
  nNodes: number,
  starts: readonly number[],
  targets: readonly number[],
  end: (node: number) => number,
): Int32Array {
  const component = new Int32Array(nNodes).fill(-1)
  const index = new Int32Array(nNodes)
  const low = new Int32Array(nNodes)
  const open: number[] = []
  /** The nodes from the start to the current one, and for each its next edge. */
  const path: number[] = []
  const edges: number[] = []
  let nSeen = 0
  const enter = (node: number): void => {
    index[node] = low[node] = ++nSeen
    if (end(node) === starts[node]) {
      component[node] = node
      return
    }
    open.push(node)
    path.push(node)
    edges.push(starts[node] as number)
  }
  for (let start = 0; start < nNodes; start++) {
    if (index[start] === 0) enter(start)
    while (path.length > 0) {
      const top = path.length - 1
      const node = path[top] as number
      const edge = edges[top] as number
      if (edge < end(node)) {
        edges[top] = edge + 1
        const to = targets[edge] as number
        if (index[to] === 0) enter(to)
        else if ((component[to] as number) < 0) low[node] = Math.min(low[node] as number, index[to] as number)
        continue
      }
      path.pop()
      edges.pop()
      const before = path.at(-1)
      if (before !== undefined) low[before] = Math.min(low[before] as number, low[node] as number)
      if (low[node] !== index[node]) continue
      while ((component[node] as number) < 0) component[open.pop() as number] = node
    }
  }
  return component
}
